//! What became of mutants: the lists that cargo-mutants leaves.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Mutants by what became of them, each in cargo-mutants' words: `FILE:LINE:COLUMN: WHAT`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// A test failed.
    pub caught: Vec<String>,
    /// A test did not end.
    pub hung: Vec<String>,
    /// All tests passed.
    pub missed: Vec<String>,
    /// Does not compile.
    pub unviable: Vec<String>,
}

impl Outcomes {
    /// A later pass, over what this one missed. cargo-mutants tries others too: it lets some kinds past `--re`.
    pub fn followed_by(mut self, later: Self) -> Self {
        let missed = self.missed;
        let again = |names: Vec<String>| {
            let tried = |name: &String| missed.contains(name);
            names.into_iter().filter(tried).collect::<Vec<_>>()
        };
        self.caught.extend(again(later.caught));
        self.hung.extend(again(later.hung));
        self.unviable.extend(again(later.unviable));
        self.missed = again(later.missed);
        self
    }

    /// How many compile.
    pub fn viable(&self) -> usize {
        self.seen() + self.missed.len()
    }

    /// How many the tests saw: they failed, or did not end.
    pub fn seen(&self) -> usize {
        self.caught.len() + self.hung.len()
    }
}

/// Reads the lists in a directory `mutants.out`.
pub fn read(directory: &Path) -> Result<Outcomes, String> {
    let lines = |name: &str| match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{}/{name}: {error}", directory.display())),
    };
    Ok(Outcomes {
        caught: lines("caught.txt")?,
        hung: lines("timeout.txt")?,
        missed: lines("missed.txt")?,
        unviable: lines("unviable.txt")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn a_later_pass_decides_about_what_was_missed() {
        let first = Outcomes {
            caught: names(&["a"]),
            missed: names(&["b", "c", "d"]),
            ..Outcomes::default()
        };
        let second = Outcomes {
            caught: names(&["b", "a"]),
            hung: names(&["c"]),
            missed: names(&["d"]),
            ..Outcomes::default()
        };
        let both = first.followed_by(second);
        assert_eq!((both.seen(), both.viable()), (3, 4));
        assert_eq!(both.missed, names(&["d"]));
    }
}
