//! Core files as gdb sees them. Without gdb these tests say that they were skipped.

#[path = "../skipped/mod.rs"]
mod skipped;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use doca_dpa::{Error, SyncEvent};
use skipped::skipped;
use tests::*;

use crate::{Dir, builder, complete, fault_of, report};

#[tokio::test]
async fn rule_5_2_gdb_shows_where_a_stopped_kernel_was() -> Result<(), Error> {
    let dir = Dir::new("stopped");
    for (kind, function) in [
        ("spins", "spins"),
        ("overflows", "descend"),
        ("binds", "binds"),
    ] {
        let limit = Some(Duration::from_millis(100));
        let dpa = builder(&dir).run_time_limit(limit).open()?;
        fault_of(&dpa, kind).await?;
        let (_, report) = report(&dpa);
        let (core, _, _) = complete(&report);
        if let Some(said) = gdb(core, &["backtrace 30".into()]) {
            assert!(said.contains(&format!(" {function} () at ")), "{said}");
        }
    }
    Ok(())
}

/// What gdb says to these commands; `None` if there is no gdb.
fn gdb(core: &Path, commands: &[String]) -> Option<String> {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-iex", "set auto-load no"]);
    command.args(["-iex", "set debuginfod enabled off"]);
    command.arg(program).arg("-c").arg(core);
    let commands = commands.iter().flat_map(|c| ["-ex", c]);
    let output = command.args(commands).output();
    let Ok(output) = output else {
        let why = "gdb is not installed, so no debugger has read the core file";
        skipped("crash", why);
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn rule_5_2_gdb_opens_a_core_and_reads_heap_and_stacks() -> Result<(), Error> {
    let dir = Dir::new("gdb");
    let dpa = builder(&dir).open()?;
    let gate = SyncEvent::host_to_device(&dpa)?;
    let kept = dpa.copy_in(&[0x1122_3344_5566_7788u64, 1, 2, 3]).await?;
    let total = dpa.zeroed::<u64>(1).await?;
    let args = WaitThenCountArgs {
        event: &gate,
        value: 9u64,
        total: &total,
    };
    let waiting = dpa.launch(wait_then_count).args(args).submit()?;
    while dpa.snapshot().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    let number = PanicsArgs { number: 13u64 };
    assert!(dpa.launch(panics).args(number).submit()?.await.is_err());
    let (_, report) = report(&dpa);
    let (core, _, _) = complete(&report);
    let address = kept.addr().raw();
    let commands = [
        "info files".into(),
        format!("x/4gx {address:#x}"),
        "thread apply all backtrace".into(),
    ];
    if let Some(said) = gdb(core, &commands) {
        assert!(
            said.contains("0x1122334455667788\t0x0000000000000001"),
            "{said}"
        );
        assert!(
            said.contains("0x0000000000000002\t0x0000000000000003"),
            "{said}"
        );
        assert!(said.contains("SIGABRT"), "{said}");
        // Kernels are code of this program: their stacks can be unwound.
        assert!(said.contains(" panics () at "), "{said}");
        assert!(said.contains(" wait_then_count () at "), "{said}");
    }
    drop(waiting);
    Ok(())
}
