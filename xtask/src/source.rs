//! Files of the workspace, and Rust text without its comments and strings.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file with its path from the workspace's root.
pub struct File {
    /// With `/`, from the root.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Every `.rs` file below a directory.
pub fn rust_files(below: &Path) -> Vec<File> {
    let mut files = text_files(below);
    files.retain(|file| file.path.ends_with(".rs"));
    files
}

/// Every text file below a directory, without build output and hidden directories other than `.ci` and `.cargo`.
pub fn text_files(below: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    walk(below, &mut paths);
    paths.sort();
    paths.into_iter().filter_map(read).collect()
}

fn read(path: PathBuf) -> Option<File> {
    let text = fs::read_to_string(&path).ok()?;
    let short = path.strip_prefix(crate::run::root()).unwrap_or(&path);
    Some(File {
        path: short.to_string_lossy().into_owned(),
        text,
    })
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && wanted(&name) => walk(&path, found),
            // In a linked worktree `.git` is a file.
            Ok(kind) if kind.is_file() && name != ".git" => found.push(path),
            _ => {}
        }
    }
}

fn wanted(directory: &str) -> bool {
    directory != "target" && (!directory.starts_with('.') || [".ci", ".cargo"].contains(&directory))
}

/// The code alone: comments, strings and character literals become spaces, lines stay where they are.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hidden = hidden_length(rest, &out);
        let length = if hidden == 0 {
            first.len_utf8()
        } else {
            hidden
        };
        let (piece, tail) = rest.split_at(length);
        if hidden == 0 {
            out.push(first);
        } else {
            out.extend(piece.chars().map(|c| if c == '\n' { c } else { ' ' }));
        }
        rest = tail;
    }
    out
}

/// How many bytes at the start of `rest` are no code.
fn hidden_length(rest: &str, before: &str) -> usize {
    let to_end = |at: Option<usize>, more: usize| at.map_or(rest.len(), |at| at + more);
    if rest.starts_with("//") {
        to_end(rest.find('\n'), 0)
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest.starts_with('"') {
        string(rest)
    } else if rest.starts_with('r') && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    {
        raw_string(rest)
    } else if rest.starts_with('\'') {
        character(rest)
    } else {
        0
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 2;
    rest[start..]
        .find(&close)
        .map_or(rest.len(), |at| start + at + close.len())
}

/// A character literal, not a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((next, c))) => {
            let from = next + c.len_utf8();
            rest[from..].find('\'').map_or(0, |at| from + at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Whether `word` stands in the code as a word of its own.
pub fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|piece| piece == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        for hidden in [
            "// x",
            "/* a /* x */ x */",
            "\"\\\"x\"",
            "r#\"x\" x\"#",
            "'x'",
            "'\\''",
        ] {
            let text = format!("a {hidden}\nb");
            assert!(!has_word(&code(&text), "x"), "{hidden}");
            assert!(has_word(&code(&text), "b"), "{hidden}");
        }
    }

    #[test]
    fn lifetimes_and_names_are_code() {
        assert!(has_word(
            &code("fn f<'a>(x: &'a str, r: u8) { 'a' }"),
            "str"
        ));
        assert!(!has_word("unsafe_code", "unsafe"));
    }
}
