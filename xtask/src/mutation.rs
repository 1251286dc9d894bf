//! `mutation CRATE`: which mistakes do the tests of a crate see? cargo-mutants makes them, one at a time: another operator,
//! a condition turned round, a function that does nothing.
//!
//! First come the tests that are quick; what survives them meets the others of the scope. What survives these must stand,
//! with the reason, in the crate's `mutation-survivors.txt`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::run::{cargo, command, output, succeeds, target};

mod accepted;
mod outcomes;
mod scope;

use accepted::Accepted;
use outcomes::Outcomes;
use scope::Scope;

/// Of 100 mutants that compile, so many must be caught.
const SHARE: usize = 90;
/// What cargo-mutants ends with when mutants survived, and when some ran out of time.
const FINISHED: [i32; 3] = [0, 2, 3];

/// What of the mutants is tried, and how.
pub struct Options {
    /// Part `k` of `n` as `k/n`, `k` from 0; all of them if `None`.
    pub shard: Option<String>,
    /// Only those in lines that changed since this revision.
    pub since: Option<String>,
    /// How many at the same time.
    pub jobs: usize,
}

/// Tries the mutants of a crate and prints what became of them.
pub fn run(krate: &str, options: &Options) -> Outcome {
    let scope = scope::of(krate)?;
    if !succeeds(cargo().args(["mutants", "--version"])) {
        let message = "needs cargo-mutants: `cargo install cargo-mutants --locked`";
        return Err(message.into());
    }
    let all = listed(scope)?;
    let accepted = accepted::read(krate)?;
    let outcomes = all_passes(scope, options)?;
    report(&all, &accepted, &outcomes, options.are_all())
}

impl Options {
    /// Whether all mutants of the scope are tried.
    fn are_all(&self) -> bool {
        self.shard.is_none() && self.since.is_none()
    }

    /// What chooses the mutants among those of the scope.
    fn choice(&self, scope: &Scope) -> Result<Vec<OsString>, String> {
        let mut choice = Vec::new();
        if let Some(part) = &self.shard {
            choice.extend(["--shard".into(), part.into()]);
        }
        if let Some(revision) = &self.since {
            let place = directory(scope).join("since.diff");
            write_changes(scope, revision, &place)?;
            choice.extend(["--in-diff".into(), place.into()]);
        }
        Ok(choice)
    }
}

/// What changed in the crate since a revision.
fn write_changes(scope: &Scope, revision: &str, place: &Path) -> Outcome {
    let changes = output(command("git").args(["diff", revision, "--", scope.krate]))?;
    if changes.is_empty() {
        return Err(format!(
            "nothing of `{}` changed since `{revision}`",
            scope.krate
        ));
    }
    let written =
        std::fs::create_dir_all(directory(scope)).and_then(|()| std::fs::write(place, changes));
    written.map_err(|error| format!("{}: {error}", place.display()))
}

fn directory(scope: &Scope) -> PathBuf {
    target().join("mutation").join(scope.krate)
}

/// All mutants of the scope, in cargo-mutants' words and order.
fn listed(scope: &Scope) -> Result<Vec<String>, String> {
    let text = output(mutants(scope).arg("--list"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn all_passes(scope: &Scope, options: &Options) -> Result<Outcomes, String> {
    let mut outcomes = Outcomes::default();
    for (number, tests) in scope.passes.iter().enumerate() {
        let mut command = mutants(scope);
        match number {
            0 => command.args(options.choice(scope)?),
            _ if outcomes.missed.is_empty() => break,
            _ => command.args(outcomes.missed.iter().flat_map(|name| again(name))),
        };
        let place = directory(scope).join(format!("pass-{number}"));
        run_pass(&mut command, &place, tests, options.jobs)?;
        let found = outcomes::read(&place.join("mutants.out"))?;
        outcomes = match number {
            0 => found,
            _ => outcomes.followed_by(found),
        };
    }
    Ok(outcomes)
}

/// What chooses this one mutant.
fn again(name: &str) -> [String; 2] {
    ["--re".into(), format!("^{}$", escaped(name))]
}

/// A regular expression for exactly this text.
fn escaped(text: &str) -> String {
    let escape = |c: char| {
        let special = r"\.+*?()|[]{}^$#&-~".contains(c);
        special.then_some('\\').into_iter().chain([c])
    };
    text.chars().flat_map(escape).collect()
}

fn run_pass(command: &mut Command, place: &Path, tests: &[&str], jobs: usize) -> Outcome {
    // cargo-mutants keeps what was there before beside the new; nobody reads it.
    let _ = std::fs::remove_dir_all(place);
    std::fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
    command
        .args(["--profile", "mutants", "--colors", "never"])
        .args(["--timeout", scope::TIMEOUT, "--jobs", &jobs.to_string()])
        .arg("--output")
        .arg(place)
        .args(tests.iter().map(|test| format!("--cargo-arg={test}")));
    // Each job builds in a copy of the sources.
    let status = command.env_remove("CARGO_TARGET_DIR").status();
    let status = status.map_err(|error| format!("cannot start cargo mutants: {error}"))?;
    match status.code().is_some_and(|code| FINISHED.contains(&code)) {
        true => Ok(()),
        false => Err(format!("cargo mutants failed ({status})")),
    }
}

fn mutants(scope: &Scope) -> Command {
    let mut command = cargo();
    command.args(["mutants", "--package", scope.krate]);
    let files = scope.files.iter();
    command.args(files.flat_map(|file| ["--file", file]));
    command
}

/// Prints what became of the mutants; an error if one survived that may not, or too many did. `whole`: all were tried.
fn report(all: &[String], accepted: &Accepted, outcomes: &Outcomes, whole: bool) -> Outcome {
    let names = accepted::names(all);
    let name = |mutant: &String| {
        names
            .get(mutant.as_str())
            .cloned()
            .unwrap_or_else(|| mutant.clone())
    };
    let (known, new): (Vec<_>, Vec<_>) = outcomes
        .missed
        .iter()
        .map(|mutant| (mutant, name(mutant)))
        .partition(|(_, name)| accepted.contains_key(name));
    for (_, name) in &known {
        println!("survives, as it may: {name}\n    {}", accepted[name]);
    }
    for (mutant, name) in &new {
        println!("SURVIVES: {mutant}\n    in the list it would be: {name}");
    }
    let there = |listed: &&String| names.values().any(|name| name == *listed);
    let gone: Vec<_> = accepted.keys().filter(|listed| !there(listed)).collect();
    for listed in &gone {
        println!("in the list, but there is no such mutant: {listed}");
    }
    let seen = outcomes.caught.iter().chain(&outcomes.hung).map(name);
    for name in seen.filter(|name| accepted.contains_key(name)) {
        println!("in the list, but a test sees it: {name}");
    }
    summary(outcomes);
    verdict(new.len(), gone.len(), outcomes, whole)
}

fn summary(outcomes: &Outcomes) {
    println!(
        "{} of {} viable mutants caught ({} of them by a test that hangs), {:.1} %; {} do not compile",
        outcomes.seen(),
        outcomes.viable(),
        outcomes.hung.len(),
        100.0 * outcomes.seen() as f64 / outcomes.viable().max(1) as f64,
        outcomes.unviable.len(),
    );
}

fn verdict(new: usize, gone: usize, outcomes: &Outcomes, whole: bool) -> Outcome {
    if new > 0 {
        return Err(format!("{new} mutants survive and are not in the list"));
    }
    if gone > 0 {
        return Err(format!("{gone} mutants of the list do not exist"));
    }
    let enough = outcomes.seen() * 100 >= outcomes.viable() * SHARE;
    match enough || !whole {
        true => Ok(()),
        false => Err(format!("fewer than {SHARE} % are caught")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().copied().map(str::to_owned).collect()
    }

    fn accepted(mutant: &str) -> Accepted {
        [(mutant.to_owned(), "same: so".to_owned())].into()
    }

    fn outcomes(caught: usize, missed: &[&str]) -> Outcomes {
        Outcomes {
            caught: (0..caught).map(|n| format!("a.rs:{n}:1: x")).collect(),
            missed: names(missed),
            ..Outcomes::default()
        }
    }

    #[test]
    fn a_survivor_must_be_in_the_list_and_the_list_true() {
        let all = names(&["a.rs:5:1: y", "a.rs:6:1: z"]);
        let one = outcomes(20, &["a.rs:5:1: y"]);
        assert_eq!(report(&all, &accepted("a.rs: y"), &one, true), Ok(()));
        assert!(report(&all, &accepted("a.rs: z"), &one, true).is_err());
        assert!(report(&all, &accepted("a.rs: w"), &outcomes(20, &[]), true).is_err());
    }

    #[test]
    fn of_all_mutants_nine_in_ten_are_caught() {
        let all = names(&["a.rs:5:1: y"]);
        let list = accepted("a.rs: y");
        let of = |caught, whole| report(&all, &list, &outcomes(caught, &["a.rs:5:1: y"]), whole);
        assert_eq!(of(9, true), Ok(()));
        assert!(of(8, true).is_err());
        assert_eq!(of(8, false), Ok(()), "a part may have fewer");
    }

    #[test]
    fn a_name_is_a_pattern_for_itself_alone() {
        let pattern = r"a_1\.rs:1: x \-> \(y\) < z";
        assert_eq!(escaped("a_1.rs:1: x -> (y) < z"), pattern);
    }
}
