//! Every rule of `docs/semantics.md` has a test that bears its number.

use crate::source::{self, File};

const DOCUMENT: &str = "docs/semantics.md";

/// Sections that have rules.
const SECTIONS: [&str; 7] = ["1.", "2.", "3.", "4.", "5.", "6.", "7."];

/// A finding per rule without a test; a note when there is no document.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        println!("tidy: rules: skipped: there is no {DOCUMENT}");
        return Vec::new();
    };
    let codes: Vec<_> = files
        .iter()
        .filter(|f| f.path.ends_with(".rs"))
        .map(|f| source::code(&f.text))
        .collect();
    let missing = ids(&document.text)
        .into_iter()
        .filter(|id| !codes.iter().any(|code| tested(code, id)));
    missing
        .map(|id| format!("{DOCUMENT}: rule {id} has no test `{}*`", prefix(&id)))
        .collect()
}

fn tested(code: &str, id: &str) -> bool {
    code.contains(&format!("fn {}", prefix(id)))
}

fn prefix(id: &str) -> String {
    format!("rule_{}_", id.replace('.', "_"))
}

/// The ids `R x.y` of the sections that are built.
fn ids(text: &str) -> Vec<String> {
    let pieces = text.split("R ").skip(1).filter_map(id);
    let mut ids: Vec<_> = pieces
        .filter(|id| SECTIONS.iter().any(|s| format!("{id}.").starts_with(s)))
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

fn id(tail: &str) -> Option<String> {
    let end = tail
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(tail.len());
    let (section, rule) = tail[..end].trim_end_matches('.').split_once('.')?;
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (number(section) && number(rule)).then(|| format!("{section}.{rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    fn findings(document: &str, code: &str) -> usize {
        check(&[sample(DOCUMENT, document), sample("a/tests/b.rs", code)]).len()
    }

    #[test]
    fn a_rule_without_a_test_is_found() {
        assert_eq!(
            findings("**R 1.2** Events.", "fn rule_1_2_no_lost_wake() {}"),
            0
        );
        assert_eq!(findings("**R 1.2** Events.", "fn rule_1_20_other() {}"), 1);
        assert_eq!(findings("R 1.2. Events.", "// fn rule_1_2_x"), 1);
    }

    #[test]
    fn other_sections_wait() {
        assert_eq!(findings("R 8.1 and R 9.4", ""), 0);
        assert_eq!(findings("R 4.3", ""), 1);
        assert_eq!(findings("R 6.1", ""), 1);
    }
}
