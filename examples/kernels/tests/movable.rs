//! Threads of these kernels may go on on another worker, for the standard library is out of their crate's reach.

use doca_dpa_dev::__private::Kernel;

#[doca_dpa_dev::dpa_kernel]
fn in_a_std_crate(_thread: &doca_dpa_dev::Thread) {}

#[test]
fn kernels_of_a_no_std_crate_may_move() {
    assert!(examples_kernels::hello.entry().reach.is_movable());
    assert!(examples_kernels::digest_blocks.entry().reach.is_movable());
    assert!(examples_kernels::hello.entry().reach.is_interruptible());
}

#[test]
fn kernels_of_a_std_crate_stay() {
    assert!(!in_a_std_crate.entry().reach.is_movable());
    assert!(!in_a_std_crate.entry().reach.is_interruptible());
}

#[test]
fn entries_say_where_the_kernel_stands() {
    let entry = examples_kernels::fan_out.entry();
    assert_eq!(entry.name, "fan_out");
    assert!(entry.file.ends_with("small.rs") && entry.line > 1);
    assert_eq!(entry.arg_bytes, 24);
}
