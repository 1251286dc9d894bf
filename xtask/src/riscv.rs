//! `riscv`: the device crates for the device's instruction set.

use crate::Outcome;
use crate::run::{cargo, check, command, output, root, skip, target};

const TARGET: &str = "riscv64imac-unknown-none-elf";
const SYSROOT: &str = "../shared/tools/riscv-sysroot.sh";
/// The crates that must compile for the device.
pub const CRATES: [&str; 4] = ["dpa-abi", "flexio-dev", "doca-dpa-dev", "examples-kernels"];

/// Compiles the device crates, with rustup's target or a sysroot built from source; skips where there is neither.
pub fn run() -> Outcome {
    let Some(flags) = flags()? else {
        return skip(
            "riscv",
            &format!("no {TARGET}; `rustup target add {TARGET}` installs it"),
        );
    };
    let mut build = cargo();
    build.args(["build", "--release", "--target", TARGET]);
    build.args(CRATES.iter().flat_map(|krate| ["-p", krate]));
    build.env("CARGO_TARGET_DIR", target().join("riscv"));
    if !flags.is_empty() {
        build.env("RUSTFLAGS", flags);
    }
    check(&mut build)
}

/// The flags a build for the device needs: none with rustup's target.
fn flags() -> Result<Option<String>, String> {
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let installed = format!("{}/lib/rustlib/{TARGET}/lib", sysroot.trim());
    if std::path::Path::new(&installed).exists() {
        return Ok(Some(String::new()));
    }
    if !root().join(SYSROOT).exists() {
        return Ok(None);
    }
    output(&mut command(root().join(SYSROOT))).map(|flags| Some(flags.trim().to_owned()))
}
