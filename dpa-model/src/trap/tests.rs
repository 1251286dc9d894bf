use super::{install, signals};
use std::process::Command;
use std::sync::Barrier;

const CHILD: &str = "DPA_TRAP_TEST_CHILD";

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
    let program = std::env::current_exe().expect("this program");
    let test = "trap::tests::child_that_installs_at_once";
    for round in 0..20 {
        let mut child = Command::new(&program);
        child.args(["--exact", test]).env(CHILD, "1");
        let output = child.output().expect("a child");
        assert!(output.status.success(), "{round}: {output:?}");
    }
}
