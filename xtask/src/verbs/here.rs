//! `verbs here` and `verbs cost`: on this machine, over a device that is not there (`rdma/tests/verbs/device.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::callgrind::collected;
use crate::run::{cargo, check, command, output, skip, succeeds, target};

const SOURCE: &str = "rdma/tests/verbs/device.c";
/// The device's addresses.
const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const GIDS: [&str; 2] = ["0a4d:0001", "0a4d:0002"];
/// Work requests that are counted.
const REQUESTS: u64 = 2000;
/// Above a bare loop, of the provider itself.
const GOAL: u64 = 300;

/// The library of the device and what it says of itself.
struct Device {
    library: PathBuf,
    sysfs: PathBuf,
}

impl Device {
    fn make() -> Result<Self, String> {
        let place = target().join("verbs/device");
        let failed = |error: std::io::Error| format!("{}: {error}", place.display());
        let port = place.join("sysfs/mock0/ports/1");
        for (index, gid) in GIDS.iter().enumerate() {
            let gid = format!("0000:0000:0000:0000:0000:ffff:{gid}\n");
            for (part, text) in [("gid_attrs/types", "RoCE v2\n"), ("gids", &gid)] {
                let part = port.join(part);
                std::fs::create_dir_all(&part).map_err(failed)?;
                std::fs::write(part.join(index.to_string()), text).map_err(failed)?;
            }
        }
        let flags = ["-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-o"];
        let library = place.join("libibverbs.so.1");
        check(command("cc").args(flags).arg(library).arg(SOURCE))?;
        let place = std::fs::canonicalize(&place).map_err(failed)?;
        let sysfs = place.join("sysfs");
        let library = place;
        Ok(Self { library, sysfs })
    }

    /// A program finds the device.
    fn shown_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_LIBRARY_PATH", &self.library)
            .env("DPA_MOCK_SYSFS", &self.sysfs)
            .env("DPA_RDMA", "verbs")
    }
}

fn with_feature(words: &[&str]) -> Command {
    let mut cargo = cargo();
    cargo.args(words).args(["--features", "verbs"]);
    cargo.env("CARGO_TARGET_DIR", target().join("verbs"));
    cargo
}

/// The end-to-end tests, and those of what may be missing.
pub fn tests() -> Outcome {
    let device = Device::make()?;
    check(&mut with_feature(&[
        "test", "-p", "tests", "--test", "verbs",
    ]))?;
    let mut tests = with_feature(&["test", "-p", "tests"]);
    tests.args(super::TESTS.iter().flat_map(|name| ["--test", name]));
    tests.env("DPA_TEST_ADDRESSES", ADDRESSES.join(","));
    check(device.shown_to(&mut tests))
}

/// One program of the comparison.
struct Program {
    what: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    /// The functions in which instructions count.
    counted: &'static [&'static str],
}

const PROGRAMS: [Program; 3] = [
    Program {
        what: "a bare loop of rdma-sys",
        name: "verbs_bare",
        arguments: &[ADDRESSES[0], "1000"],
        counted: &["verbs_bare::rounds"],
    },
    Program {
        what: "the provider: work requests to completions",
        name: "verbs_cost",
        arguments: &[ADDRESSES[0]],
        counted: &["verbs_cost::counted_post", "verbs_cost::counted_take"],
    },
    Program {
        what: "the NIC: entries in device memory to completion entries",
        name: "verbs_work",
        arguments: &["work", ADDRESSES[0], "1000"],
        counted: &["dpa_model::nic::DeviceNic::ring"],
    },
];

/// Counts instructions for each work request, of ours and of a bare loop, on the same device; then waits for signals.
pub fn cost() -> Outcome {
    if !succeeds(command("valgrind").arg("--version")) {
        return skip("verbs cost", "valgrind is not installed");
    }
    let device = Device::make()?;
    let built = |package: &str, names: &[&str]| {
        let mut build = with_feature(&["build", "--release", "-p", package]);
        check(build.args(names.iter().flat_map(|name| ["--example", name])))
    };
    built("rdma", &["verbs_bare", "verbs_cost"])?;
    built("doca-dpa", &["verbs_work"])?;
    let place = target().join("verbs/release/examples");
    let counts = PROGRAMS
        .iter()
        .map(|program| count(&device, &place, program));
    let counts = counts.collect::<Result<Vec<u64>, String>>()?;
    println!(
        "instructions for each work request, the device's own {} among them:",
        counts[0]
    );
    for (program, count) in PROGRAMS.iter().zip(&counts) {
        let above = count - counts[0].min(*count);
        println!("{count:6}, {above:5} above the bare loop: {}", program.what);
    }
    let mut waits = command(place.join("verbs_work"));
    waits.arg("wait").args(ADDRESSES);
    check(device.shown_to(&mut waits))?;
    match counts[1] - counts[0].min(counts[1]) {
        above if above > GOAL => Err(format!(
            "the provider takes {above} above a bare loop, more than {GOAL}"
        )),
        _ => Ok(()),
    }
}

/// Instructions for each work request of a program, with those of the device.
fn count(device: &Device, place: &Path, program: &Program) -> Result<u64, String> {
    let figures = target()
        .join("verbs")
        .join(program.name)
        .with_extension("callgrind");
    let mut run = command("valgrind");
    run.args(["--tool=callgrind", "--log-file=/dev/stdout"]);
    run.arg(format!("--callgrind-out-file={}", figures.display()));
    for function in program.counted {
        run.arg(format!("--toggle-collect={function}"));
    }
    run.arg(place.join(program.name)).args(program.arguments);
    let said = output(device.shown_to(&mut run))?;
    let all = collected(&said).ok_or(format!("callgrind says nothing of {}", program.name))?;
    match all {
        // A function that was inlined is never entered.
        0 => Err(format!("no instruction of {} was counted", program.name)),
        all => Ok(all / REQUESTS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::root;

    #[test]
    fn the_device_is_there() {
        assert!(root().join(SOURCE).exists());
    }
}
