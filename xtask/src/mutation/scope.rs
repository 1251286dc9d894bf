//! What is mutated in each crate, and which of its tests must see it.

/// Longest build and longest run of the tests, in seconds: what hangs is caught.
pub const TIMEOUT: &str = "120";

/// A crate's part of `cargo xtask mutation`.
#[derive(Debug)]
pub struct Scope {
    pub krate: &'static str,
    /// Where mistakes are made: globs of files.
    pub files: &'static [&'static str],
    /// Which tests run: first those that are quick, then others for what has survived them. None named: all of the crate.
    pub passes: &'static [&'static [&'static str]],
}

const SCOPES: [Scope; 3] = [
    Scope {
        krate: "sync-event",
        files: &["sync-event/src/**/*.rs"],
        passes: &[&[
            "--lib",
            "--test=parts",
            "--test=reference",
            "--test=rules",
            "--test=waiters",
        ]],
    },
    Scope {
        krate: "dpa-model",
        files: &[
            "dpa-model/src/activation.rs",
            "dpa-model/src/chunk.rs",
            "dpa-model/src/gate.rs",
            "dpa-model/src/handover.rs",
            "dpa-model/src/idle.rs",
            "dpa-model/src/inbox.rs",
            "dpa-model/src/inbox/ring.rs",
            "dpa-model/src/launch.rs",
            "dpa-model/src/lanes.rs",
            "dpa-model/src/launch/*.rs",
            "dpa-model/src/ready.rs",
            "dpa-model/src/sched.rs",
            "dpa-model/src/sched/*.rs",
            "dpa-model/src/submit.rs",
            "dpa-model/src/tally.rs",
            "dpa-model/src/turns.rs",
            "dpa-model/src/unfinished.rs",
        ],
        passes: &[&["--lib"], &[]],
    },
    Scope {
        krate: "rdma",
        files: &[
            "rdma/src/requester.rs",
            "rdma/src/requester/*.rs",
            "rdma/src/responder.rs",
            "rdma/src/responder/*.rs",
            "rdma/src/region.rs",
            "rdma/src/region/*.rs",
        ],
        passes: &[
            &[
                "--test=acknowledgements",
                "--test=answers",
                "--test=many",
                "--test=order_of_checks",
                "--test=rare",
                "--test=regions",
                "--test=reliability",
                "--test=repeats",
                "--test=rights",
                "--test=same_nic",
                "--test=timers",
                "--test=transfers",
                "--test=turns",
            ],
            &["--test=hostile", "--test=property"],
        ],
    },
];

/// The scope of this crate.
///
/// # Errors
/// A sentence with the names of those that have one.
pub fn of(krate: &str) -> Result<&'static Scope, String> {
    let found = SCOPES.iter().find(|scope| scope.krate == krate);
    found.ok_or_else(|| {
        let names = SCOPES.map(|scope| scope.krate).join(", ");
        format!("`{krate}` is not one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_a_scope_is_told_which_have_one() {
        assert_eq!(of("rdma").map(|scope| scope.krate), Ok("rdma"));
        let refused = of("flexio").map(|scope| scope.krate);
        assert!(refused.is_err_and(|message| message.contains("sync-event")));
    }

    #[test]
    fn the_files_are_there() {
        for scope in SCOPES {
            for file in scope.files {
                let place = file.trim_end_matches("/*.rs").trim_end_matches("/**");
                assert!(crate::run::root().join(place).exists(), "{file}");
            }
        }
    }
}
