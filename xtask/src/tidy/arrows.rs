//! One arrow between crates: a crate may name crates below it, none beside or above.

use crate::source::File;

/// Height of each crate, lowest first. What names another must stand higher.
///
/// ```text
/// 10 dpa-bench (measures an example, too), dpa-fuzz (outside the workspace)
/// 9  examples  tests                 5  dpa-model
/// 8  doca-dpa                        4  doca-dpa-dev (then crates of kernels on it, 5)
/// 7  flexio                          3  flexio-dev   rdma
///                                    2  sync-event
///                                    1  dpa-abi   dpa-macros   (xtask names none)
/// ```
const HEIGHTS: &[(&str, u8)] = &[
    ("dpa-abi", 1),
    ("dpa-macros", 1),
    ("xtask", 1),
    ("sync-event", 2),
    ("flexio-dev", 3),
    ("rdma", 3),
    ("doca-dpa-dev", 4),
    ("examples-kernels", 5),
    ("dpa-bench-kernels", 5),
    ("tests-alloc", 5),
    ("dpa-model", 5),
    ("flexio", 7),
    ("doca-dpa", 8),
    ("examples", 9),
    ("tests", 9),
    ("dpa-bench", 10),
    ("dpa-fuzz", 10),
];

/// Crates that run on the device: they name no host crate.
const DEVICE: &[&str] = &["dpa-abi", "flexio-dev", "doca-dpa-dev", "examples-kernels"];

/// Arrows that point down and are still refused: a layer in between is not to be jumped over.
const REFUSED: &[(&str, &str)] = &[
    ("doca-dpa", "dpa-model"),
    ("doca-dpa", "rdma"),
    ("dpa-model", "doca-dpa-dev"),
];

/// Arrows that only tests may use.
const TESTS_ONLY: &[(&str, &str)] = &[
    ("dpa-model", "doca-dpa-dev"),
    ("doca-dpa", "dpa-model"),
    ("doca-dpa", "examples-kernels"),
];

/// Findings in a crate's `Cargo.toml`; other files have none.
pub fn check(file: &File) -> Vec<String> {
    if !file.path.ends_with("/Cargo.toml") {
        return Vec::new();
    }
    let Some(name) = package(&file.text) else {
        return Vec::new();
    };
    if height(name).is_none() {
        return vec![format!(
            "{}: crate `{name}` has no place in {}",
            file.path,
            file!()
        )];
    }
    let named = dependencies(&file.text);
    let bad = named
        .iter()
        .filter(|(krate, dev)| refused(name, krate, *dev));
    bad.map(|(krate, _)| format!("{}: `{name}` must not name `{krate}`", file.path))
        .collect()
}

fn refused(from: &str, to: &str, dev: bool) -> bool {
    let Some(below) = height(to) else {
        return false;
    };
    if dev && TESTS_ONLY.contains(&(from, to)) {
        return false;
    }
    let upwards = height(from).is_none_or(|height| below >= height);
    let leaves_device = DEVICE.contains(&from) && !DEVICE.contains(&to) && to != "dpa-macros";
    upwards || leaves_device || REFUSED.contains(&(from, to))
}

fn height(krate: &str) -> Option<u8> {
    HEIGHTS
        .iter()
        .find(|(name, _)| *name == krate)
        .map(|(_, height)| *height)
}

fn package(manifest: &str) -> Option<&str> {
    let (_, body) = manifest.split_once("[package]")?;
    let line = body.lines().find(|line| line.starts_with("name"))?;
    line.split('"').nth(1)
}

/// The names under every table of dependencies, and whether only tests use them.
fn dependencies(manifest: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            found.extend(in_header(section));
        } else if section.ends_with("dependencies") && !line.starts_with('#') {
            found.extend(key(line).map(|key| (key, section.ends_with("dev-dependencies"))));
        }
    }
    found
}

/// `[dependencies.name]`.
fn in_header(section: &str) -> Option<(&str, bool)> {
    let (table, name) = section.rsplit_once('.')?;
    table
        .ends_with("dependencies")
        .then(|| (name, table.ends_with("dev-dependencies")))
}

/// The crate a line names: its `package`, or its key.
fn key(line: &str) -> Option<&str> {
    if let Some((_, renamed)) = line.split_once("package = \"") {
        return renamed.split('"').next();
    }
    let key = line.split(['.', '=', ' ']).next()?.trim_matches('"');
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    fn findings(name: &str, rest: &str) -> usize {
        let text = format!("[package]\nname = \"{name}\"\n{rest}");
        check(&sample("x/Cargo.toml", &text)).len()
    }

    #[test]
    fn an_arrow_up_or_beside_is_found() {
        assert_eq!(
            findings("sync-event", "[dependencies]\ndpa-abi.workspace = true\n"),
            0
        );
        assert_eq!(
            findings("sync-event", "[dependencies]\nrdma.workspace = true\n"),
            1
        );
        assert_eq!(
            findings("rdma", "[build-dependencies]\nflexio-dev = \"1\"\n"),
            1
        );
        assert_eq!(
            findings(
                "rdma",
                "[target.'cfg(x)'.dependencies]\ndpa-model = \"1\"\n"
            ),
            1
        );
        assert_eq!(findings("rdma", "[dependencies.flexio]\npath = \"x\"\n"), 1);
        assert_eq!(
            findings("rdma", "[dependencies]\nz = { package = \"flexio\" }\n"),
            1
        );
    }

    #[test]
    fn a_jump_over_a_layer_is_found_outside_tests() {
        assert_eq!(
            findings("doca-dpa", "[dependencies]\ndpa-model = \"1\"\n"),
            1
        );
        assert_eq!(
            findings("doca-dpa", "[dev-dependencies]\ndpa-model = \"1\"\n"),
            0
        );
    }

    #[test]
    fn a_device_crate_names_no_host_crate() {
        for host in ["rdma", "dpa-model", "flexio", "sync-event"] {
            let rest = format!("[dependencies]\n{host}.workspace = true\n");
            assert_eq!(findings("doca-dpa-dev", &rest), 1, "{host}");
        }
    }

    #[test]
    fn an_unknown_crate_is_found() {
        assert_eq!(findings("stranger", ""), 1);
    }
}
