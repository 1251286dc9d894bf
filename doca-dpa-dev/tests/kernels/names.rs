//! Names and attributes that are to survive the macros.

use doca_dpa_dev::prelude::*;
use dpa_abi::arg::IntoArgs;
use dpa_abi::kernel::Kernel;

use super::fake::Device;
use super::packed;

/// No name of a type begins with a digit.
#[dpa_kernel]
fn _2d_fft(_thread: &Thread, _n: u32) {}

#[dpa_kernel]
fn _1(_thread: &Thread, _n: u32) {}

#[dpa_kernel]
fn says_within(_thread: &Thread, by: u32) {
    //! What it does.
    #![expect(unused_variables, reason = "that it is taken is what is tested")]
}

/// The derives of the user's are not those of the macros.
mod shadowed {
    use doca_dpa_dev::Arg as Debug;
    use doca_dpa_dev::{Arg as Clone, Arg as Copy, Thread, dpa_kernel};

    #[derive(Clone)]
    pub struct First {
        pub by: u32,
    }

    #[derive(Copy)]
    pub struct Second {
        pub by: u32,
    }

    #[derive(Debug)]
    pub struct Third {
        pub by: u32,
    }

    #[dpa_kernel]
    pub fn takes(_thread: &Thread, first: First, second: Second, third: Third) {
        assert_eq!((first.by, second.by, third.by), (1, 2, 3));
    }
}

#[test]
fn the_structs_of_arguments_have_names_that_can_be() {
    let (two, one) = (_2dFftArgs { _n: 7u32 }, _1Args { _n: 8u32 });
    let two = IntoArgs::<<_2d_fft as Kernel>::Args>::into_args(two).0;
    let one = IntoArgs::<<_1 as Kernel>::Args>::into_args(one).0;
    assert_eq!(
        (packed(two), packed(one)),
        (vec![7, 0, 0, 0], vec![8, 0, 0, 0])
    );
    assert_eq!(_2d_fft.entry().name, "_2d_fft");
}

#[test]
fn attributes_within_a_kernel_are_its_own() {
    assert_eq!(says_within.entry().arg_bytes, 4);
}

#[test]
fn derives_of_the_user_are_not_those_of_the_macros() {
    use shadowed::*;
    let args = TakesArgs {
        first: FirstArg { by: 1u32 },
        second: SecondArg { by: 2u32 },
        third: ThirdArg { by: 3u32 },
    };
    let wire = IntoArgs::<<takes as Kernel>::Args>::into_args(args).0;
    let bytes = packed(wire);
    let ran = Device::default().run(0, 1, |unit| (takes.entry().run)(unit, &bytes));
    ran.expect("no fault");
}

/// An attribute that depends on a condition is none that the argument depends on.
#[dpa_kernel]
fn ignores_one(
    _thread: &Thread,
    #[cfg_attr(all(), expect(unused_variables, reason = "it is only there"))] by: u32,
) {
}

#[test]
fn attributes_of_an_argument_may_depend_on_a_condition() {
    assert_eq!(ignores_one.entry().arg_bytes, 4);
}
