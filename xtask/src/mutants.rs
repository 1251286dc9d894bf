//! `loom --mutants`: each known mistake must be caught by the model named for it.
//!
//! A mutant is a `cfg(dpa_mutant = "name")` in the shipped source and a line `name model` in the crate's
//! `mutants.txt`. The cfg is set by a wrapper around rustc that cargo uses for workspace members only, so loom and
//! the other dependencies are built once.
//!
//! Only a failing model kills. A mutant that does not compile, names no model, or runs out of time is an error of the
//! list: loom reports deadlocks and endless loops as failures itself, so running out of time proves nothing.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::run::{output, root, target};
use crate::{Outcome, loom, source};

const LIMIT: Duration = Duration::from_secs(120);

struct Mutant {
    krate: &'static str,
    name: String,
    model: String,
}

/// Runs every mutant and prints the table.
pub fn run() -> Outcome {
    let mutants = listed()?;
    compare(&mutants)?;
    println!("{:<32} {:<36} killed", "mutant", "model");
    let mut alive = Vec::new();
    for mutant in &mutants {
        let verdict = verdict(mutant)?;
        println!("{:<32} {:<36} {verdict}", mutant.name, mutant.model);
        if verdict != "yes" {
            alive.push(mutant.name.as_str());
        }
    }
    let killed = mutants.len() - alive.len();
    println!("{killed} of {} mutants killed", mutants.len());
    if alive.is_empty() {
        Ok(())
    } else {
        Err(format!("not killed: {}", alive.join(", ")))
    }
}

fn listed() -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    for krate in loom::CRATES {
        let path = root().join(krate).join("mutants.txt");
        match fs::read_to_string(path) {
            Ok(text) if loom::has_models(krate) => mutants.extend(parse(krate, &text)?),
            _ => {
                println!("loom --mutants: skipped: {krate} has no mutants.txt or no tests/loom.rs");
            }
        }
    }
    Ok(mutants)
}

fn parse(krate: &'static str, text: &str) -> Result<Vec<Mutant>, String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| parse_line(krate, line)).collect()
}

fn parse_line(krate: &'static str, line: &str) -> Result<Mutant, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, model] = words[..] else {
        return Err(format!(
            "{krate}/mutants.txt: `{line}` is not `mutant model`"
        ));
    };
    Ok(Mutant {
        krate,
        name: name.into(),
        model: model.into(),
    })
}

/// Where mutants may stand: the crates with models, and what they share.
const SOURCES: [&str; 4] = ["dpa-abi", "sync-event", "dpa-model", "rdma"];

/// The lists and the sources must name the same mutants.
fn compare(mutants: &[Mutant]) -> Outcome {
    let texts = SOURCES
        .into_iter()
        .flat_map(|krate| source::rust_files(&root().join(krate).join("src")));
    let named: Vec<_> = texts.flat_map(|file| names(&file.text)).collect();
    let is_listed = |name: &&String| mutants.iter().any(|m| m.name == **name);
    if let Some(name) = named.iter().find(|name| !is_listed(name)) {
        return Err(format!(
            "mutant `{name}` is in the sources, not in a mutants.txt"
        ));
    }
    match mutants.iter().find(|m| !named.contains(&m.name)) {
        Some(Mutant { krate, name, .. }) => Err(format!(
            "mutant `{name}` is in {krate}/mutants.txt, not in the sources"
        )),
        None => Ok(()),
    }
}

/// The mutants a source names: `dpa_mutant = "name"`, or `CONSTANT = "name"` in a file that makes constants of them
/// (`dpa_mutant = $name`).
fn names(text: &str) -> Vec<String> {
    let table = text.contains("dpa_mutant = $");
    let pieces = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut names: Vec<_> = pieces.flat_map(|line| names_in(line, table)).collect();
    names.sort();
    names.dedup();
    names
}

fn names_in(line: &str, table: bool) -> Vec<String> {
    let needle = if table { " = \"" } else { "dpa_mutant = \"" };
    let tails = line.split(needle).skip(1);
    tails
        .filter_map(|tail| Some(tail.split_once('"')?.0.to_owned()))
        .collect()
}

/// "yes", or why not. Fails when the mutant does not compile.
fn verdict(mutant: &Mutant) -> Result<&'static str, String> {
    let place = target().join("loom/mutants").join(&mutant.name);
    let program = build(mutant, &wrapper(&place, &mutant.name)?)?;
    let log = place.join("output.txt");
    let ended = execute(mutant, &program, &log)?;
    let ran = fs::read_to_string(&log).is_ok_and(|text| text.contains("running 1 test"));
    Ok(match ended {
        _ if !ran => "NO: no such model",
        None => "NO: out of time",
        Some(true) => "NO: it survives",
        Some(false) => "yes",
    })
}

fn wrapper(place: &Path, name: &str) -> Result<PathBuf, String> {
    let path = place.join("rustc");
    let text = format!("#!/bin/sh\nexec \"$@\" --cfg 'dpa_mutant=\"{name}\"'\n");
    let written = fs::create_dir_all(place)
        .and_then(|()| fs::write(&path, text))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

/// Builds the crate's models with the mutant and returns the test program.
fn build(mutant: &Mutant, wrapper: &Path) -> Result<PathBuf, String> {
    let mut cargo = loom::cargo_test(mutant.krate);
    cargo.args([
        "--no-run",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ]);
    let messages = output(cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper))
        .map_err(|e| format!("mutant {} does not compile: {e}", mutant.name))?;
    let path = messages.lines().filter_map(executable).next_back();
    path.ok_or_else(|| format!("mutant {}: cargo named no test program", mutant.name))
}

fn executable(message: &str) -> Option<PathBuf> {
    let (_, tail) = message.split_once("\"executable\":\"")?;
    Some(tail.split_once('"')?.0.into())
}

/// Whether the model passed; `None` when it ran out of time.
fn execute(mutant: &Mutant, program: &Path, log: &Path) -> Result<Option<bool>, String> {
    let start = || -> std::io::Result<Child> {
        let out = File::create(log)?;
        let mut command = Command::new(program);
        command
            .args(["--exact", &mutant.model])
            .current_dir(root().join(mutant.krate));
        command.env("LOOM_MAX_PREEMPTIONS", loom::preemptions(false));
        command.stderr(out.try_clone()?).stdout(out).spawn()
    };
    let ended = start().and_then(|child| wait(child, LIMIT));
    ended.map_err(|e| format!("cannot run {}: {e}", program.display()))
}

fn wait(mut child: Child, limit: Duration) -> std::io::Result<Option<bool>> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_a_short_line_refused() {
        let list = parse("rdma", "# comment\n\na b\n").map(|list| list[0].model.clone());
        assert_eq!(list, Ok("b".to_owned()));
        assert!(parse("rdma", "alone\n").is_err());
    }

    #[test]
    fn names_are_found_in_cfgs_and_in_tables() {
        assert_eq!(
            names("#[cfg(not(dpa_mutant = \"one\"))]\nlet x = \"two\";"),
            ["one"]
        );
        assert_eq!(
            names("cfg!(dpa_mutant = $name)\nTWO = \"two\";\n// dpa_mutant"),
            ["two"]
        );
    }

    #[test]
    fn a_run_that_hangs_is_stopped() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait(child, Duration::from_millis(20)).unwrap(), None);
    }
}
