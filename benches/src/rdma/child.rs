//! The other process: answers ours with kernels that stay, and the peer with a thread.

use std::process::ExitCode;

use super::{Side, Told, VARIANTS, raw};

/// Runs until it is killed, or this program's starter is gone.
pub(crate) fn run(ours: &str) -> ExitCode {
    let Ok(told) = serde_json::from_str::<Told>(ours) else {
        eprintln!("dpa-bench: --child is for dpa-bench itself");
        return ExitCode::from(2);
    };
    let side = Side::new([127, 0, 0, 202].into());
    let (socket, address) = raw::server();
    let peer = side.connect(&told);
    for variant in 0..VARIANTS.len() {
        drop(side.bounce(&peer, variant, (0, u64::MAX, false)));
    }
    std::thread::spawn(move || raw::serve(socket));
    match serde_json::to_string(&side.tells(Some(address))) {
        Ok(line) => examples::say!("{line}"),
        Err(error) => eprintln!("dpa-bench: {error}"),
    }
    // The starter kills this process; without it there is nothing to answer.
    let starter = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == starter {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    ExitCode::SUCCESS
}
