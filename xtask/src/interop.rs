//! `interop`: our NIC opposite the kernel's soft-RoCE driver, in a small virtual machine.
//!
//! The program that runs there is `rdma/examples/rxe_matrix`; `docs/interop.md` keeps its table.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::run::{cargo, check, command, not_installed, root, skip, succeeds, target};

const TOOLS: &str = "../shared/tools";
const SCRIPTS: [&str; 3] = ["rxe-vm.sh", "rxe-ours.sh", "rxe-peer.c"];
/// What the scripts call.
const PROGRAMS: [&str; 8] = [
    "cc",
    "qemu-system-x86_64",
    "cpio",
    "busybox",
    "modprobe",
    "rdma",
    "ip",
    "tc",
];
/// The machine's boot and all cases; its processor is an emulated one.
const SECONDS: &str = "480";
/// What the scripts end with when the time is over.
const TIMED_OUT: i32 = 124;
/// How the matrix begins to print, and how the lines that are kept begin.
const KERNEL: &str = "kernel ";
const KEPT: [&str; 4] = [KERNEL, "| ", "|-", "total, "];

const DOCUMENT: &str = "docs/interop.md";
const BEGIN: &str = "<!-- printed by `cargo xtask interop --keep` -->\n";
const END: &str = "<!-- end -->";

/// Runs the matrix; `keep`: writes what it prints into the document.
pub fn run(keep: bool) -> Outcome {
    if let Some(reason) = lacking() {
        return skip("interop", &reason);
    }
    let place = prepare()?;
    let (lines, code) = watch(&mut machine(&place))?;
    if !lines.iter().any(|line| line.starts_with(KERNEL)) && code != Some(TIMED_OUT) {
        return skip("interop", "the virtual machine did not start, see above");
    }
    if code != Some(0) {
        return Err(format!("the matrix failed (exit code {code:?})"));
    }
    if keep { keep_table(&lines) } else { Ok(()) }
}

/// Why it cannot run here, if it cannot.
fn lacking() -> Option<String> {
    let tools = root().join(TOOLS);
    if let Some(script) = SCRIPTS.iter().find(|script| !tools.join(script).exists()) {
        return Some(format!("{TOOLS}/{script} is not here"));
    }
    if let Some(program) = not_installed(&PROGRAMS) {
        return Some(format!("{program} is not installed"));
    }
    let header = "echo '#include <infiniband/verbs.h>' | cc -E - -o /dev/null";
    if !succeeds(command("sh").args(["-c", header])) {
        return Some("the headers of libibverbs are not installed".into());
    }
    None
}

/// Puts everything the machine needs into one directory, which it mounts: its `/tmp` is its own.
fn prepare() -> Result<PathBuf, String> {
    let place = target().join("interop");
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    std::fs::create_dir_all(&place).map_err(failed)?;
    check(cargo().args(["build", "-p", "rdma", "--example", "rxe_matrix"]))?;
    let built = target().join("debug/examples/rxe_matrix");
    std::fs::copy(built, place.join("rxe_matrix")).map_err(failed)?;
    let tools = root().join(TOOLS);
    std::fs::copy(tools.join("rxe-ours.sh"), place.join("rxe-ours.sh")).map_err(failed)?;
    let mut compiler = command("cc");
    compiler.arg("-O2").arg("-o").arg(place.join("rxe-peer"));
    check(compiler.arg(tools.join("rxe-peer.c")).arg("-libverbs"))?;
    std::fs::canonicalize(&place).map_err(failed)
}

fn machine(place: &Path) -> Command {
    let peer = format!("{} rxe0", place.join("rxe-peer").display());
    let mut machine = command("bash");
    machine.arg(root().join(TOOLS).join("rxe-vm.sh"));
    machine
        .args(["-t", SECONDS, "-w"])
        .arg(place)
        .args(["--", "bash"]);
    machine.arg(place.join("rxe-ours.sh")).arg("-k").arg(peer);
    machine.arg("--").arg(place.join("rxe_matrix"));
    machine
}

/// Runs to the end, shows each line when it comes, and returns all of them with the exit code.
fn watch(command: &mut Command) -> Result<(Vec<String>, Option<i32>), String> {
    let not_started = |error: std::io::Error| format!("cannot start the virtual machine: {error}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let mut lines = Vec::new();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            println!("{line}");
            lines.push(line);
        }
    }
    let status = child.wait().map_err(not_started)?;
    Ok((lines, status.code()))
}

fn keep_table(lines: &[String]) -> Outcome {
    let path = root().join(DOCUMENT);
    let failed = |error: std::io::Error| format!("{DOCUMENT}: {error}");
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let text = replaced(&text, lines).ok_or(format!("{DOCUMENT} has no place for the table"))?;
    std::fs::write(&path, text).map_err(failed)
}

/// The document with these lines between its marks.
fn replaced(text: &str, lines: &[String]) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, behind) = rest.split_once(END)?;
    let kept = lines
        .iter()
        .filter(|line| KEPT.iter().any(|start| line.starts_with(start)));
    let mut table = String::new();
    let mut in_rows = false;
    for line in kept {
        let row = line.starts_with('|');
        if row != in_rows || !row {
            table.push('\n');
        }
        in_rows = row;
        table.push_str(line);
        table.push('\n');
    }
    Some(format!("{before}{BEGIN}{table}\n{END}{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_put_between_the_marks() {
        let text = format!("# A\n\n{BEGIN}old\n{END}\n\nmore\n");
        let printed = ["kernel 6", "noise", "| a | b |", "|---|---|", "total, x: 1"];
        let lines: Vec<String> = printed.iter().map(ToString::to_string).collect();
        let new = "\nkernel 6\n\n| a | b |\n|---|---|\n\ntotal, x: 1\n\n";
        let expected = format!("# A\n\n{BEGIN}{new}{END}\n\nmore\n");
        assert_eq!(replaced(&text, &lines), Some(expected));
        assert_eq!(replaced("no marks", &lines), None);
    }
}
