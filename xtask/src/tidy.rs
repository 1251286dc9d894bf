//! `tidy`: rules about the sources that the compiler does not know.
//!
//! Each check is a function from texts to findings, so that its tests can hand it a bad sample.

mod arrows;
mod c_names;
mod containers;
mod futures;
mod names;
mod paths;
mod reach;
mod rules;
mod shipped;
mod text;
mod unsafety;
mod uses;

use crate::Outcome;
use crate::run::root;
use crate::source::{self, File};

/// Runs every check and prints every finding.
pub fn run() -> Outcome {
    let files = source::text_files(&root());
    let findings = findings(&files);
    for finding in &findings {
        println!("tidy: {finding}");
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!("tidy found {} faults", findings.len()))
    }
}

fn findings(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        found.extend(arrows::check(file));
        found.extend(text::check(file));
        found.extend(unsafety::check(file, unsafety::ALLOWED));
    }
    found.extend(rules::check(files));
    found.extend(c_names::check(files));
    found.extend(containers::check(files));
    found.extend(futures::check(files));
    found
}

#[cfg(test)]
fn sample(path: &str, text: &str) -> File {
    File {
        path: path.into(),
        text: text.into(),
    }
}
