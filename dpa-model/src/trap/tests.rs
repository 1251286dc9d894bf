use super::{enter, install, signals};
use crate::rig::Still;
use crate::unit::{Core, Spare, Unit};
use crate::worker::Worker;
use std::process::{Command, Output};
use std::sync::Barrier;
use std::sync::atomic::Ordering;

const CHILD: &str = "DPA_TRAP_TEST_CHILD";

/// Runs this test alone, in a program of its own.
fn child(test: &str) -> Output {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.args(["--exact", test]).env(CHILD, "1");
    child.output().expect("a child")
}

/// Not a test by itself: a program whose first devices are opened at the same time.
#[test]
fn child_that_installs_at_once() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let together = Barrier::new(8);
    let install = || {
        together.wait();
        install();
        signals::are_installed()
    };
    let all = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| scope.spawn(install));
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(all, [true; 8]);
}

#[test]
fn rule_5_1_no_device_is_opened_before_its_faults_are_caught() {
    for round in 0..20 {
        let output = child("trap::tests::child_that_installs_at_once");
        assert!(output.status.success(), "{round}: {output:?}");
    }
}

/// Not a test by itself: a program whose first device is opened by a destructor, while a panic is on its way.
#[test]
fn child_that_installs_while_it_unwinds() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            install();
        }
    }
    if std::env::var_os(CHILD).is_some() {
        let unwinds = || {
            let _late = Late;
            panic!("so the destructor runs");
        };
        assert!(std::panic::catch_unwind(unwinds).is_err());
        install();
        assert!(signals::are_installed());
    }
}

#[test]
fn a_device_can_be_opened_by_a_destructor_that_a_panic_runs() {
    let test = "trap::tests::child_that_installs_while_it_unwinds";
    let output = child(test);
    assert!(output.status.success(), "{output:?}");
}

/// The system tells of a stack without room for an interruption as it tells of an address that no memory can have.
#[test]
fn rule_5_1_a_wild_access_of_who_is_to_be_interrupted_is_a_fault() {
    let process = Still::new();
    let worker = Worker::new(process.device.clone(), 0);
    let stack = process.device.stacks.take().expect("a stack");
    let core = Core::new();
    let unit = Unit::new(Spare { stack, core });
    unit.core().runs_on(&worker);
    let shared = worker.shared();
    // It has been called back.
    shared.background.store(true, Ordering::SeqCst);
    shared.woken.store(true, Ordering::SeqCst);
    let had_no_room =
        |stack_pointer| signals::had_no_room(libc::SIGSEGV, libc::SI_KERNEL, stack_pointer);
    let entered = unit.entered();
    assert!(!had_no_room(entered.limit + 512), "it is on no stack");
    let _entered = enter(entered);
    assert!(had_no_room(entered.limit + 512));
    assert!(!had_no_room(entered.high - 512));
}
