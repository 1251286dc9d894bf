//! Length, leftovers, paths of one machine, and `no_std`.

use crate::source::{self, File};

const WARN_LINES: usize = 500;
const MOST_LINES: usize = 700;

/// What must not stay in a source. In pieces, so that this file does not find itself.
const LEFTOVERS: [&str; 6] = [
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[", "ignore"),
    concat!("#[", "allow("),
];

const PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("../sha", "red")];

const DEVICE_ROOTS: [&str; 4] = [
    "dpa-abi/src/lib.rs",
    "flexio-dev/src/lib.rs",
    "doca-dpa-dev/src/lib.rs",
    "examples/kernels/src/lib.rs",
];

/// Findings in one file.
pub fn check(file: &File) -> Vec<String> {
    let mut found = paths(file);
    if file.path.ends_with(".rs") {
        found.extend(length(file));
        found.extend(leftovers(file));
        found.extend(no_std(file));
    }
    found
}

fn length(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        return Some(format!(
            "{}: {lines} lines, at most {MOST_LINES}",
            file.path
        ));
    }
    if lines > WARN_LINES {
        println!(
            "tidy: warning: {}: {lines} lines, better below {WARN_LINES}",
            file.path
        );
    }
    None
}

fn leftovers(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let hits = lines.flat_map(|(at, line)| {
        // An `allow` with its reason is not a bare one.
        let reasoned = line.contains("reason = ");
        let words = LEFTOVERS
            .iter()
            .filter(move |word| line.contains(*word) && !(reasoned && word.contains("allow")));
        words.map(move |word| format!("{}:{}: `{word}` must not stay", file.path, at + 1))
    });
    hits.collect()
}

fn paths(file: &File) -> Vec<String> {
    if [".ci/", "xtask/"]
        .iter()
        .any(|place| file.path.starts_with(place))
    {
        return Vec::new();
    }
    let hits = PATHS.iter().filter(|path| file.text.contains(*path));
    hits.map(|path| format!("{}: names `{path}`, a path of one machine", file.path))
        .collect()
}

fn no_std(file: &File) -> Option<String> {
    let device = DEVICE_ROOTS.contains(&file.path.as_str());
    let said = source::code(&file.text).contains("#![no_std]");
    (device && !said).then(|| format!("{}: a device crate needs `#![no_std]`", file.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    #[test]
    fn a_long_file_is_found() {
        let lines = |count| check(&sample("a/b.rs", &"x\n".repeat(count))).len();
        assert_eq!((lines(MOST_LINES), lines(MOST_LINES + 1)), (0, 1));
    }

    #[test]
    fn every_leftover_is_found() {
        for word in LEFTOVERS {
            assert_eq!(
                check(&sample("a/b.rs", &format!("a\n {word}\n"))).len(),
                1,
                "{word}"
            );
        }
    }

    #[test]
    fn a_machine_path_is_found_outside_ci() {
        for path in PATHS {
            assert_eq!(check(&sample("docs/a.md", path)).len(), 1);
            assert_eq!(check(&sample(".ci/run", path)).len(), 0);
        }
    }

    #[test]
    fn a_device_crate_without_no_std_is_found() {
        assert_eq!(check(&sample(DEVICE_ROOTS[0], "// #![no_std]\n")).len(), 1);
        assert_eq!(check(&sample(DEVICE_ROOTS[0], "#![no_std]\n")).len(), 0);
    }
}
