//! Every attack of `hostile-kernel`, for a moment: it takes place, comes to nothing, and the victim's results are right. How much of its
//! throughput the victim keeps is measured by `cargo xtask hostile`.

use std::process::Command;

#[test]
fn every_attack_takes_place_and_comes_to_nothing() {
    let program = env!("CARGO_BIN_EXE_hostile-kernel");
    for also in [&[][..], &["--one-function"]] {
        let short = ["--slices", "1", "--milliseconds", "200"];
        let output = Command::new(program).args(short).args(also).output();
        let output = output.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{also:?}: {said}");
    }
}
