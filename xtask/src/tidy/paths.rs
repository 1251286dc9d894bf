//! Which module of a crate gives out what, as far as lines of formatted Rust tell.

use crate::source;

/// Whether a module declares something publicly, or hands it on under this name.
pub fn gives_out(code: &str, item: &str) -> bool {
    let handed_on = code.split("pub use ").skip(1);
    let mut handed_on = handed_on.filter_map(|rest| rest.split(';').next());
    let given = |names: &str| {
        names
            .split(['{', ',', '}'])
            .any(|one| given_as(one) == item)
    };
    handed_on.any(given) || declares(code, item)
}

/// The name under which a part of a `use` hands something on.
fn given_as(part: &str) -> &str {
    let part = part.trim();
    let part = part.rsplit_once(" as ").map_or(part, |(_, name)| name);
    part.rsplit("::").next().unwrap_or(part)
}

/// Whether a module declares something publicly.
pub fn declares(code: &str, item: &str) -> bool {
    let mut heads = code.lines().filter(|line| is_public(line));
    heads.any(|line| {
        let head = line.split(['(', '{', '<', ';']).next();
        source::has_word(head.unwrap_or(line), item)
    })
}

/// Whether a line declares something public, which may be a type within a macro such as `bitflags`.
fn is_public(line: &str) -> bool {
    let within = line.trim_start().starts_with("pub struct ");
    within || line.starts_with("pub ") && !line.starts_with("pub use ")
}

/// Whether a file is this module of the crate in that directory, or of one below it.
pub fn is_below(file: &str, directory: &str, module: &str) -> bool {
    let rest = file.strip_prefix(&format!("{directory}/src/{module}"));
    rest.is_some_and(|rest| rest.starts_with(['.', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_out_as_it_is_handed_on() {
        let code = "pub use a::{\n    B, c::D,\n    E as F,\n};\npub use g::H as I;\npub use j::K;\nuse l::M;\npub enum N {\n";
        for given in ["B", "D", "F", "I", "K", "N"] {
            assert!(gives_out(code, given), "{given}");
        }
        for kept in ["a", "c", "E", "H", "j", "M"] {
            assert!(!gives_out(code, kept), "{kept}");
        }
    }

    #[test]
    fn modules_are_files_and_directories() {
        for (file, below) in [
            ("a-b/src/c.rs", true),
            ("a-b/src/c/d.rs", true),
            ("a-b/src/cd.rs", false),
            ("a-b/src/lib.rs", false),
            ("a/src/c.rs", false),
        ] {
            assert_eq!(is_below(file, "a-b", "c"), below, "{file}");
        }
    }
}
