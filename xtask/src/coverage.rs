//! `fuzz --coverage`: the targets of `fuzz/`, which libFuzzer guides by what they cover, under AddressSanitizer.
//!
//! The same as `cargo fuzz run TARGET`, without that program. It takes the nightly toolchain and a C++ compiler.

use std::path::PathBuf;

use crate::Outcome;
use crate::asan::{HOST, nightly};
use crate::run::{cargo, check, command, root, skip, succeeds, target};

/// What instruments a build for libFuzzer, and what AddressSanitizer asks for.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address --cfg fuzzing --cfg dpa_sanitize \
    -Ccodegen-units=1";
/// One input at most.
const MAX_BYTES: &str = "1024";

/// Builds all targets, and runs each for so long. What they find lies in `fuzz/artifacts`; what covers more, in the
/// target directory, beside the inputs that are kept in `fuzz/corpus`.
pub fn run(seconds: u64) -> Outcome {
    let Some(mut cargo) = nightly() else {
        return skip("fuzz --coverage", "no nightly toolchain");
    };
    if !succeeds(command("c++").arg("--version")) {
        return skip("fuzz --coverage", "no C++ compiler");
    }
    let builds = target().join("fuzz");
    cargo
        .args(["build", "--release", "--target", HOST])
        .current_dir(root().join("fuzz"))
        .env("CARGO_TARGET_DIR", &builds)
        .env("RUSTFLAGS", FLAGS);
    check(&mut cargo)?;
    for name in targets()? {
        println!("== {name}");
        one(&builds, &name, seconds)?;
    }
    Ok(())
}

fn one(builds: &std::path::Path, name: &str, seconds: u64) -> Outcome {
    let found = builds.join("corpus").join(name);
    let artifacts = root().join("fuzz/artifacts").join(name);
    for directory in [&found, &artifacts] {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let mut fuzzer = command(builds.join(HOST).join("release").join(name));
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .args(["-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=4096"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(found)
        .arg(root().join("fuzz/corpus").join(name));
    check(&mut fuzzer)
}

/// Lints the targets, with the toolchain of the workspace: they are not part of it, so nothing else would notice what they lack.
pub fn lint() -> Outcome {
    check(
        cargo()
            .args(["clippy", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
            .args(["--", "-D", "warnings"])
            .env("CARGO_TARGET_DIR", target().join("fuzz-targets"))
            // They are not linked, so the library itself need not be built, which takes a C++ compiler.
            .env("CUSTOM_LIBFUZZER_PATH", "/not/linked/libFuzzer.a"),
    )
}

/// One for each file of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, String> {
    let directory = root().join("fuzz/fuzz_targets");
    let shown = directory.display().to_string();
    let files = std::fs::read_dir(directory).map_err(|error| format!("{shown}: {error}"))?;
    let paths = files.filter_map(Result::ok).map(|file| file.path());
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = paths.filter_map(stem).collect();
    names.sort();
    Ok(names)
}
