//! Unsafe code stands in few files, each in a list.

use crate::source::{self, File};

/// The list: one path per line, `#` begins a comment.
pub const ALLOWED: &str = include_str!("../unsafe_files.txt");

/// A finding when the file has unsafe code and is not in the list.
pub fn check(file: &File, allowed: &str) -> Option<String> {
    let named = allowed.lines().any(|line| line.trim() == file.path);
    let rust = file.path.ends_with(".rs");
    let has = rust && !named && source::has_word(&source::code(&file.text), "unsafe");
    has.then(|| {
        format!(
            "{0}: has unsafe code; if it must, add `{0}` to the list in xtask/src/unsafe_files.txt",
            file.path
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    #[test]
    fn unsafe_code_outside_the_list_is_found() {
        let file = sample("a/b.rs", "fn f() { unsafe { g() } }");
        assert!(check(&file, "a/c.rs\n").is_some());
        assert!(check(&file, "# why\na/b.rs\n").is_none());
    }

    #[test]
    fn the_word_in_a_comment_is_not_code() {
        assert!(check(&sample("a/b.rs", "// unsafe\n#![forbid(unsafe_code)]"), "").is_none());
    }
}
