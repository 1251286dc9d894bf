//! `docs/c-names.md`: where each function of the original is here, and the test that shows it.
//!
//! A row is `| C name | path | file::test |`, or `| C name | why there is none | |`. The check fails if
//!
//! 1. the number of functions in a section is not what its heading says, one stands there twice, or all together are not
//!    as many as the original has;
//! 2. a path leads to nothing that carries the C name as `doc(alias)`, or is not public;
//! 3. a test is none, or does not use the item: a call of a function, a field or a path to anything else, in its kernels if
//!    that is one of the device, else on the host, or in a function that these call;
//! 4. an alias of the sources has no row;
//! 5. something is left out that may not be.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Item, Sources};
use crate::source::File;

const TABLE: &str = "docs/c-names.md";

/// Functions of the original, on both layers and both sides.
const FUNCTIONS: usize = 565;

/// The section of what is no function: types, constants, macros. Its rows need no test.
const OTHERS: &str = "Types, constants, macros";

/// The section of what is still to come.
const NOT_YET: &str = "Not yet";

/// What may be left out.
const LEFT_OUT: [&str; 9] = [
    "PCI emulation",
    "comch",
    "Ethernet queues",
    "congestion control",
    "GPU locations",
    "remote-PCI locations",
    "DC transport",
    "MSI-X",
    "by design",
];

/// One row.
struct Row<'t> {
    line: usize,
    section: &'t str,
    name: &'t str,
    ours: &'t str,
    test: &'t str,
}

impl Row<'_> {
    fn path(&self) -> Option<&str> {
        self.ours.strip_prefix('`')?.strip_suffix('`')
    }

    fn is_function(&self) -> bool {
        self.section != OTHERS
    }

    fn found(&self, what: &str) -> String {
        format!("{TABLE}:{}: `{}`: {what}", self.line, self.name)
    }
}

/// Findings in the table, if there is one.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![format!("{TABLE} is not there")];
    };
    let rows = rows(&table.text);
    let sources = Sources::of(files);
    let mut found = counts(&table.text, &rows);
    found.extend(rows.iter().filter_map(|row| check_row(row, &sources)));
    found.extend(missing(&rows, &sources));
    found
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let mut section = "";
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.rsplit_once(" (").map_or(heading, |(name, _)| name);
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, name, ours, test, _] = cells[..]
            && let Some(name) = name.strip_prefix('`')
        {
            rows.push(Row {
                line: at + 1,
                section,
                name: name.trim_end_matches('`'),
                ours,
                test: test.trim_matches('`'),
            });
        }
    }
    rows
}

/// Rule 1.
fn counts(text: &str, rows: &[Row<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for heading in text.lines().filter_map(|line| line.strip_prefix("## ")) {
        if let Some((section, said)) = heading.rsplit_once(" (") {
            let count = rows.iter().filter(|row| row.section == section).count();
            if said.trim_end_matches(')') != count.to_string() {
                found.push(format!(
                    "{TABLE}: {section} has {count} rows and says ({said}"
                ));
            }
        }
    }
    let mut seen = BTreeSet::new();
    let again = rows.iter().filter(|row| !seen.insert(row.name));
    found.extend(again.map(|row| row.found("stands here twice")));
    let functions = rows.iter().filter(|row| row.is_function()).count();
    if functions != FUNCTIONS {
        found.push(format!(
            "{TABLE}: {functions} functions, the original has {FUNCTIONS}"
        ));
    }
    let waiting = rows.iter().filter(|row| row.section == NOT_YET).count();
    if waiting > 0 {
        println!("tidy: note: {TABLE}: {waiting} of {FUNCTIONS} functions are not there yet");
    }
    found
}

/// Rules 2, 3 and 5.
fn check_row(row: &Row<'_>, sources: &Sources) -> Option<String> {
    let Some(path) = row.path() else {
        return none_here(row, sources);
    };
    let mut items = sources.aliases(row.name);
    let at = items.find(|item| item.is_at(path) && sources.leads_to(path, item));
    let Some(item) = at else {
        return Some(row.found(&format!("`{path}` does not carry it as an alias")));
    };
    if !sources.is_public(path) {
        return Some(row.found(&format!("`{path}` is not public")));
    }
    let wanted = row.is_function();
    wanted.then(|| untested(row, item, sources)).flatten()
}

fn none_here(row: &Row<'_>, sources: &Sources) -> Option<String> {
    if sources.aliases(row.name).next().is_some() {
        return Some(row.found("is an alias, and has no path here"));
    }
    if row.section == NOT_YET {
        return None;
    }
    let why = row.ours.strip_prefix("left out: ").unwrap_or(row.ours);
    let known = LEFT_OUT.iter().any(|reason| why.starts_with(reason));
    (!known).then(|| row.found(&format!("`{why}` is no reason to leave it out")))
}

fn untested(row: &Row<'_>, item: &Item, sources: &Sources) -> Option<String> {
    let test = row.test;
    let Some((file, name)) = test.rsplit_once("::") else {
        return Some(row.found("names no test"));
    };
    match sources.reached_by(file, name, item.is_on_device()) {
        None => Some(row.found(&format!("there is no test `{test}`"))),
        Some(reached) if reached.iter().any(|uses| item.is_used_by(uses)) => None,
        Some(_) => Some(row.found(&format!("`{test}` does not use `{}`", item.name))),
    }
}

/// Rule 4.
fn missing(rows: &[Row<'_>], sources: &Sources) -> Vec<String> {
    let known: BTreeMap<&str, usize> = rows.iter().map(|row| (row.name, row.line)).collect();
    let unknown = sources
        .all()
        .filter(|(alias, _)| !known.contains_key(alias));
    unknown
        .map(|(alias, item)| format!("{}: alias `{alias}` has no row in {TABLE}", item.file))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    const SOURCE: &str = "pub struct Lock;\nimpl Lock {\n    /// Takes it.\n    \
        #[doc(alias = \"spin_lock\")]\n    #[inline]\n    pub fn take(&self) {\n    }\n}\n";
    const TESTS: &str = "fn helper() {\n    lock.take();\n}\n\n#[test]\nfn locks() {\n    \
        helper();\n}\n\n#[test]\nfn sleeps() {\n    \
        rest(\"lock.take()\"); // lock.take()\n}\n";

    /// Findings that name this, in a table with this row beside sources that have one alias.
    fn findings(row: &str, about: &str) -> usize {
        let table = format!("## Locks (1)\n\n| C | ours | test |\n|---|---|---|\n{row}\n");
        let files = [
            sample(TABLE, &table),
            sample("flexio/src/lib.rs", "pub use lock::Lock;\n"),
            sample("flexio/src/lock.rs", SOURCE),
            sample("tests/tests/lock.rs", TESTS),
        ];
        let found = check(&files);
        found.iter().filter(|text| text.contains(about)).count()
    }

    #[test]
    fn a_right_row_has_no_finding() {
        let row = "| `spin_lock` | `flexio::Lock::take` | `tests/tests/lock.rs::locks` |";
        assert_eq!(findings(row, "spin_lock"), 0);
    }

    #[test]
    fn a_path_must_carry_the_alias_and_be_public() {
        let row = "| `spin_lock` | `flexio::Lock::leave` | `tests/tests/lock.rs::locks` |";
        assert_eq!(findings(row, "does not carry it"), 1);
        let row = "| `spin_lock` | `flexio::lock::Lock::take` | `tests/tests/lock.rs::locks` |";
        assert_eq!(findings(row, "is not public"), 1);
    }

    #[test]
    fn a_test_must_be_one_and_call_the_item() {
        let row = "| `spin_lock` | `flexio::Lock::take` | `tests/tests/lock.rs::missing` |";
        assert_eq!(findings(row, "there is no test"), 1);
        let row = "| `spin_lock` | `flexio::Lock::take` | `tests/tests/lock.rs::helper` |";
        assert_eq!(findings(row, "there is no test"), 1);
        let row = "| `spin_lock` | `flexio::Lock::take` | `tests/tests/lock.rs::sleeps` |";
        assert_eq!(findings(row, "does not use"), 1);
        let row = "| `spin_lock` | `flexio::Lock::take` | |";
        assert_eq!(findings(row, "names no test"), 1);
    }

    #[test]
    fn every_alias_has_a_row_and_every_gap_its_reason() {
        assert_eq!(
            findings(
                "| `other` | left out: comch | |",
                "alias `spin_lock` has no row"
            ),
            1
        );
        assert_eq!(findings("| `other` | left out: comch | |", "`other`"), 0);
        assert_eq!(
            findings("| `other` | left out: too hard | |", "is no reason"),
            1
        );
        assert_eq!(
            findings("| `spin_lock` | by design: Drop | |", "has no path here"),
            1
        );
    }

    #[test]
    fn counts_are_checked() {
        let two = "| `a` | left out: comch | |\n| `a` | left out: comch | |";
        assert_eq!(findings(two, "twice"), 1);
        assert_eq!(findings(two, "has 2 rows and says"), 1);
        assert_eq!(findings(two, "the original has"), 1);
    }
}
