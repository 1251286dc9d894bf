//! `verbs`: the programs with the feature `verbs`, on the kernel's soft-RoCE devices in a small virtual machine.
//!
//! What runs there stands in `verbs/inside.sh`; `docs/interop.md` says what came of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::run::{cargo, check, command, not_installed, output, root, skip, succeeds, target};

mod here;

const TOOLS: &str = "../shared/tools";
const MACHINE: &str = "rxe-vm.sh";
/// What the machine's script calls.
const PROGRAMS: [&str; 8] = [
    "qemu-system-x86_64",
    "cpio",
    "busybox",
    "modprobe",
    "rdma",
    "ip",
    "tc",
    "pkg-config",
];
/// What a build with the feature needs, as Debian calls it.
const PACKAGES: [&str; 4] = [
    "libibverbs-dev",
    "librdmacm-dev",
    "pkg-config",
    "libclang-dev",
];
/// The machine's boot and all parts; its processor is an emulated one.
const SECONDS: &str = "560";
/// What the machine's script ends with when it could not start it.
const NO_MACHINE: i32 = 125;
/// Test programs that run there.
const TESTS: [&str; 3] = ["rdma", "idle_nic", "queues"];
const SCRIPT: &str = include_str!("verbs/inside.sh");

/// Builds with the feature and runs the parts in the machine; without parts: all.
pub fn run(parts: &[String], kernel: Option<&str>) -> Outcome {
    let alone = match parts {
        [part] if part == "here" => Some(here::tests as fn() -> Outcome),
        [part] if part == "cost" => Some(here::cost as fn() -> Outcome),
        _ => None,
    };
    if let Some(run) = alone {
        return match cannot_build() {
            Some(reason) => skip("verbs", &reason),
            None => run(),
        };
    }
    if let Some(reason) = lacking() {
        return skip("verbs", &reason);
    }
    let place = prepare()?;
    let mut machine = machine(&place, parts, kernel);
    let status = machine
        .status()
        .map_err(|error| format!("cannot start the virtual machine: {error}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(NO_MACHINE) => skip("verbs", "the virtual machine did not start, see above"),
        code => Err(format!("a part failed (exit code {code:?})")),
    }
}

/// Why it cannot run here, if it cannot.
fn lacking() -> Option<String> {
    let script = root().join(TOOLS).join(MACHINE);
    if !script.exists() {
        return Some(format!("{TOOLS}/{MACHINE} is not here"));
    }
    if let Some(program) = not_installed(&PROGRAMS) {
        return Some(format!("{program} is not installed"));
    }
    cannot_build()
}

/// Why it cannot be built here, if it cannot.
fn cannot_build() -> Option<String> {
    let lacks = !can_build() && !install();
    lacks.then(|| {
        let packages = PACKAGES.join(" ");
        format!("a build with the feature `verbs` needs: apt-get install {packages}")
    })
}

/// Whether the packages for a build are there.
fn can_build() -> bool {
    let libraries = ["libibverbs", "librdmacm"];
    let libclang = "ls /usr/lib/llvm-*/lib/libclang*.so* || ldconfig -p | grep libclang";
    succeeds(command("pkg-config").args(libraries))
        && succeeds(command("sh").args(["-c", libclang]))
}

/// Tries to install them; only a machine's owner may.
fn install() -> bool {
    let words = format!(
        "[ \"$(id -u)\" = 0 ] && command -v apt-get && \
         apt-get -o DPkg::Lock::Timeout=240 install -y -qq --no-install-recommends {}",
        PACKAGES.join(" ")
    );
    succeeds(command("sh").args(["-c", &words])) && can_build()
}

/// Puts everything the machine needs into one directory, which it mounts: its `/tmp` is its own.
fn prepare() -> Result<PathBuf, String> {
    // A directory of its own, so that builds with and without the feature do not take turns.
    let built = target().join("verbs");
    let place = built.join("machine");
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    std::fs::create_dir_all(&place).map_err(failed)?;
    let with_feature = |words: &[&str]| {
        let mut cargo = cargo();
        cargo.args(words).args(["--features", "verbs"]);
        cargo.env("CARGO_TARGET_DIR", &built);
        cargo
    };
    let bins = ["--bin", "ping-pong", "--bin", "all-to-all"];
    check(with_feature(&["build", "-p", "examples"]).args(bins))?;
    check(&mut with_feature(&[
        "build",
        "-p",
        "tests",
        "--bin",
        "netns-node",
    ]))?;
    let mut tests = with_feature(&["test", "-p", "tests", "--no-run"]);
    tests.args(TESTS.iter().flat_map(|test| ["--test", test]));
    let messages = output(tests.args(["--message-format", "json"]))?;
    for program in ["ping-pong", "all-to-all", "netns-node"] {
        std::fs::copy(built.join("debug").join(program), place.join(program)).map_err(failed)?;
    }
    for test in TESTS {
        let program = executable(&messages, test).ok_or(format!("cargo names no test `{test}`"))?;
        std::fs::copy(program, place.join(format!("{test}-tests"))).map_err(failed)?;
    }
    let measured = ["--example", "verbs_bare"];
    check(with_feature(&["build", "--release", "-p", "rdma"]).args(measured))?;
    let measured = ["--example", "verbs_work"];
    check(with_feature(&["build", "--release", "-p", "doca-dpa"]).args(measured))?;
    for program in ["verbs_bare", "verbs_work"] {
        let from = built.join("release/examples").join(program);
        std::fs::copy(from, place.join(program)).map_err(failed)?;
    }
    needs_no_library(&place)?;
    std::fs::write(place.join("inside.sh"), SCRIPT).map_err(failed)?;
    std::fs::canonicalize(&place).map_err(failed)
}

/// The program of the message about this test.
fn executable<'a>(messages: &'a str, test: &str) -> Option<&'a str> {
    let name = format!(r#""name":"{test}""#);
    let is_test = |line: &&str| line.contains(r#""kind":["test"]"#) && line.contains(&name);
    let (_, rest) = messages
        .lines()
        .find(is_test)?
        .split_once("\"executable\":\"")?;
    rest.split_once('"').map(|(path, _)| path)
}

/// A program with the feature starts without libibverbs, which it loads itself.
fn needs_no_library(place: &Path) -> Outcome {
    let program = place.join("ping-pong");
    let needed = output(command("ldd").arg(&program))?;
    match needed.contains("libibverbs") || needed.contains("librdmacm") {
        true => Err("ping-pong is linked to libibverbs: it would not start without it".into()),
        false => Ok(()),
    }
}

fn machine(place: &Path, parts: &[String], kernel: Option<&str>) -> Command {
    let mut machine = command("bash");
    machine.arg(root().join(TOOLS).join(MACHINE));
    machine.args(["-t", SECONDS, "-w"]).arg(place);
    if let Some(kernel) = kernel {
        // The script keeps one kernel in its directory, and takes no other once it has it.
        machine.args(["-K", kernel]);
        let kept = format!(
            "{}/.cache/rxe-vm-{kernel}",
            std::env::var("HOME").unwrap_or_default()
        );
        machine.env("RXE_VM_CACHE", kept);
    }
    machine.arg("--").arg("bash").arg(place.join("inside.sh"));
    machine.arg(place).args(parts);
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_cargos_messages() {
        let of = |kind: &str, name: &str| {
            format!(
                r#"{{"target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"/x/{name}"}}"#
            )
        };
        let messages = [of("test", "rdma"), of("bin", "soak")].join("\n");
        assert_eq!(executable(&messages, "rdma"), Some("/x/rdma"));
        assert_eq!(executable(&of("bin", "rdma"), "rdma"), None);
        assert_eq!(executable("{}", "rdma"), None);
    }
}
