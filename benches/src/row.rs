//! One row of results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was measured of one name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) suite: String,
    pub(crate) name: String,
    /// Median time of ours, in nanoseconds.
    pub(crate) ours_ns: f64,
    /// Who the peer is.
    pub(crate) peer: Option<String>,
    /// Median time of the peer, in nanoseconds.
    pub(crate) peer_ns: Option<f64>,
    /// Ours / peer.
    pub(crate) ratio: Option<f64>,
    /// What must be reached.
    pub(crate) goal: String,
    /// Further figures of this row.
    #[serde(flatten)]
    pub(crate) more: BTreeMap<String, f64>,
}

impl Row {
    pub(crate) fn new(suite: &str, name: &str, ours_ns: f64, goal: &str) -> Self {
        let (suite, name, goal) = (suite.into(), name.into(), goal.into());
        Self {
            suite,
            name,
            ours_ns,
            peer: None,
            peer_ns: None,
            ratio: None,
            goal,
            more: BTreeMap::new(),
        }
    }

    pub(crate) fn with(mut self, what: &str, figure: f64) -> Self {
        self.more
            .insert(what.into(), (figure * 1000.0).round() / 1000.0);
        self
    }

    pub(crate) fn print(&self, json: bool) {
        if json {
            match serde_json::to_string(self) {
                Ok(line) => examples::say!("{line}"),
                Err(error) => eprintln!("dpa-bench: {}: {error}", self.name),
            }
            return;
        }
        let number = |n: Option<f64>| n.map_or_else(|| "-".into(), |n| format!("{n:.1}"));
        let ratio = self
            .ratio
            .map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        let more: Vec<String> = self
            .more
            .iter()
            .map(|(what, figure)| format!("{what} {figure}"))
            .collect();
        examples::say!(
            "{:<22} {:>10} {:>10} {:>6}  {:<24} {} {}",
            self.name,
            number(Some(self.ours_ns)),
            number(self.peer_ns),
            ratio,
            self.goal,
            self.peer.as_deref().unwrap_or("-"),
            more.join(", ")
        );
    }
}

pub(crate) fn print_head() {
    examples::say!(
        "{:<22} {:>10} {:>10} {:>6}  {:<24} peer, further figures",
        "row",
        "ours ns",
        "peer ns",
        "ratio",
        "must reach"
    );
}
