//! A crate's `mutation-survivors.txt`: mutants that no test can or need catch, and why.
//!
//! A line that is not indented gives a reason and begins with its kind: `same:` (the program does the same, for the
//! reason given) or `speed:` (the result is the same, sooner or later). The indented lines behind it are the mutants it is
//! true of, each as cargo-mutants names it but without line and column, so that the list outlives other changes. If a file
//! has several mutants of that name, ` (2 of 3)` says which.

use std::collections::BTreeMap;
use std::fs;

use crate::run::root;

const KINDS: [&str; 2] = ["same: ", "speed: "];

/// Each mutant's name in the list, and the reason that stands above it.
pub type Accepted = BTreeMap<String, String>;

/// The list of a crate; empty if it has none.
///
/// # Errors
/// A sentence, for a line that is no reason and no mutant behind one.
pub fn read(krate: &str) -> Result<Accepted, String> {
    let path = root().join(krate).join("mutation-survivors.txt");
    let text = fs::read_to_string(&path).unwrap_or_default();
    parse(&text).map_err(|line| format!("{}: `{line}` is out of place", path.display()))
}

fn parse(text: &str) -> Result<Accepted, String> {
    let mut accepted = Accepted::new();
    let mut reason = "";
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let mutant = line.trim();
        let fits = match line.starts_with(' ') {
            false => {
                reason = line;
                KINDS.iter().any(|kind| line.starts_with(kind))
            }
            true => {
                let before = accepted.insert(mutant.to_owned(), reason.to_owned());
                !reason.is_empty() && before.is_none()
            }
        };
        if !fits {
            return Err(mutant.to_owned());
        }
    }
    Ok(accepted)
}

/// The names of mutants in the list, by what cargo-mutants calls them; `all` are all of the scope in its order.
pub fn names(all: &[String]) -> BTreeMap<&str, String> {
    let mut by_name = BTreeMap::<String, Vec<&str>>::new();
    for mutant in all {
        let of_name = by_name.entry(placeless(mutant)).or_default();
        // A file that is two modules, by configuration, stands there twice.
        if !of_name.contains(&mutant.as_str()) {
            of_name.push(mutant);
        }
    }
    let mut names = BTreeMap::new();
    for (name, mutants) in by_name {
        let count = mutants.len();
        for (index, mutant) in mutants.into_iter().enumerate() {
            let name = match count {
                1 => name.clone(),
                _ => format!("{name} ({} of {count})", index + 1),
            };
            names.insert(mutant, name);
        }
    }
    names
}

/// `FILE:LINE:COLUMN: WHAT` without line and column.
fn placeless(mutant: &str) -> String {
    let (place, what) = mutant.split_once(": ").unwrap_or(("", mutant));
    let file = place.split(':').next().unwrap_or_default();
    format!("{file}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_every_mutant_its_reason() {
        let text = "# words\n\nsame: never equal\n    a.rs: x\n    a.rs: y (1 of 2)\nspeed: spins\n    b.rs: z\n";
        let list = parse(text).map(|list| list.into_iter().collect::<Vec<_>>());
        let pair = |mutant: &str, reason: &str| (mutant.to_owned(), reason.to_owned());
        let expected = vec![
            pair("a.rs: x", "same: never equal"),
            pair("a.rs: y (1 of 2)", "same: never equal"),
            pair("b.rs: z", "speed: spins"),
        ];
        assert_eq!(list, Ok(expected));
    }

    #[test]
    fn a_mutant_without_a_reason_or_twice_and_an_unknown_kind_are_refused() {
        for text in [
            "    a.rs: x\n",
            "same: so\n    a.rs: x\n    a.rs: x\n",
            "hard: to test\n    a.rs: x\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mutants_of_one_name_are_numbered_in_their_order() {
        let all = ["a.rs:1:2: x", "a.rs:7:2: y", "a.rs:9:2: x", "b.rs:9:2: x"];
        let all = [all, all].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        let names: Vec<String> = names(&all).into_values().collect();
        assert_eq!(
            names,
            ["a.rs: x (1 of 2)", "a.rs: y", "a.rs: x (2 of 2)", "b.rs: x"]
        );
    }
}
