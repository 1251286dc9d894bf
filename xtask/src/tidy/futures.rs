//! Every public future is polled some times and dropped by a test: the table at the head of the test program that does so.
//!
//! A row is `//! | path | module::test |`, both in backticks. The check fails if
//!
//! 1. something public can be awaited, or gives what can, and has no row, or has two;
//! 2. a row names what is no such thing any more;
//! 3. a test is none, does not drop futures in the middle, or does not use the function.

use std::collections::BTreeMap;

use super::reach::{self, Parsed};
use crate::source::File;

mod public;

use public::Awaited;

/// The root of the test program.
const PROGRAM: &str = "tests/tests/dropped_futures.rs";

/// What tests call to poll a future some times, and drop it.
const CUT: &str = "off";

struct Row<'t> {
    path: &'t str,
    test: &'t str,
}

impl Row<'_> {
    fn found(&self, what: &str) -> String {
        format!("{PROGRAM}: `{}`: {what}", self.path)
    }

    /// The file of the test, and its name.
    fn place(&self) -> (String, &str) {
        match self.test.rsplit_once("::") {
            Some((module, name)) => {
                let directory = PROGRAM.trim_end_matches(".rs");
                (format!("{directory}/{module}.rs"), name)
            }
            None => (PROGRAM.to_owned(), self.test),
        }
    }
}

/// Findings in the table.
pub fn check(files: &[File]) -> Vec<String> {
    let program = files.iter().find(|file| file.path == PROGRAM);
    let rows = program.map_or_else(Vec::new, |file| rows(&file.text));
    let awaited = public::all(files);
    let parsed = files
        .iter()
        .map(|file| (file.path.as_str(), Parsed::of(file)));
    let parsed = parsed.collect();
    let by_path: BTreeMap<&str, &Awaited> =
        awaited.iter().map(|one| (one.path.as_str(), one)).collect();
    let mut found: Vec<_> = by_path
        .values()
        .filter_map(|one| counted(one, &rows))
        .collect();
    found.extend(rows.iter().filter_map(|row| match by_path.get(row.path) {
        None => Some(row.found("is no public future, nor gives one: take the row away")),
        Some(one) => untested(row, one, &parsed),
    }));
    found
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let cells = lines.filter_map(|line| line.strip_suffix("` |")?.split_once("` | `"));
    cells.map(|(path, test)| Row { path, test }).collect()
}

/// Rule 1.
fn counted(one: &Awaited, rows: &[Row<'_>]) -> Option<String> {
    let Awaited { path, file, .. } = one;
    match rows.iter().filter(|row| row.path == path).count() {
        0 => Some(format!(
            "{file}: the public future `{path}` is dropped in the middle by no test: write one, and give it a row in {PROGRAM}"
        )),
        1 => None,
        count => Some(format!("{PROGRAM}: `{path}` has {count} rows")),
    }
}

/// Rule 3.
fn untested(row: &Row<'_>, one: &Awaited, parsed: &BTreeMap<&str, Parsed<'_>>) -> Option<String> {
    let (file, name) = row.place();
    let Some(reached) = reach::from_test(parsed, &file, name, false) else {
        return Some(row.found(&format!("there is no test `{}`", row.test)));
    };
    let uses = |wanted: &str| {
        let values = |(_, name): &(Option<String>, String)| name == wanted;
        reached
            .iter()
            .any(|uses| uses.methods.contains(wanted) || uses.values.iter().any(values))
    };
    if !uses(CUT) {
        return Some(row.found(&format!("`{}` drops no future in the middle", row.test)));
    }
    let function = one.function.as_deref()?;
    (!uses(function)).then(|| row.found(&format!("`{}` does not use it", row.test)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sample;

    const SOURCE: &str = "pub struct Lock;\nimpl Lock {\n    pub async fn taken(&self) {}\n}\nimpl Future for Lock {}\n";
    const TESTS: &str = "#[test]\nfn takes() {\n    cut(async |cut| { cut.off(lock.taken()).await; });\n}\n\
        #[test]\nfn only_takes() {\n    lock.taken();\n}\n#[test]\nfn cuts() {\n    cut.off(other());\n}\n";
    const LOCK: &str = "//! | `flexio::Lock` | `locks::cuts` |\n";

    /// What is found with these rows.
    fn findings(rows: &str) -> Vec<String> {
        check(&[
            sample("flexio/src/lock.rs", SOURCE),
            sample(
                PROGRAM,
                &format!("{rows}#[test]\nfn own() {{ cut.off(lock.taken()); }}\n"),
            ),
            sample("tests/tests/dropped_futures/locks.rs", TESTS),
        ])
    }

    #[test]
    fn every_public_future_has_a_test_that_drops_it() {
        for test in ["locks::takes", "own"] {
            let rows = format!("{LOCK}//! | `flexio::Lock::taken` | `{test}` |\n");
            assert!(findings(&rows).is_empty(), "{test}");
        }
    }

    #[test]
    fn what_has_no_row_is_found() {
        let found = findings(LOCK);
        let [found] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(
            found.starts_with("flexio/src/lock.rs: the public future `flexio::Lock::taken` "),
            "{found}"
        );
        assert_eq!(findings("").len(), 2);
        assert_eq!(
            check(&[sample("flexio/src/lock.rs", SOURCE)]).len(),
            2,
            "nor is there a table"
        );
    }

    #[test]
    fn a_row_that_says_what_is_not_so_is_found() {
        for (row, what) in [
            (
                "`flexio::Lock::gone` | `locks::takes`",
                "is no public future",
            ),
            (
                "`flexio::Lock::taken` | `locks::missing`",
                "there is no test",
            ),
            (
                "`flexio::Lock::taken` | `missing::takes`",
                "there is no test",
            ),
            (
                "`flexio::Lock::taken` | `locks::only_takes`",
                "drops no future",
            ),
            ("`flexio::Lock::taken` | `locks::cuts`", "does not use it"),
            ("`flexio::Lock` | `locks::cuts`", "has 2 rows"),
        ] {
            let rows = format!("{LOCK}//! | {row} |\n");
            let found = findings(&rows);
            assert!(
                found.iter().any(|found| found.contains(what)),
                "{row}: {found:?}"
            );
        }
    }
}
