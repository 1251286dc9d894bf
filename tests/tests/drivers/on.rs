//! Programs that run under both drivers, on a device of their own kind.

#[path = "../../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::time::Duration;

use doca_dpa::{Builder, Dpa, Sim};
pub use seeds::seeds;

/// What a program of a test ends with.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs a program on such a device with threads, and on simulated ones of several seeds.
pub fn both_on(device: &Builder, program: impl AsyncFn(Dpa) -> Outcome) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        let dpa = device.clone().open()?;
        let running = tokio::time::timeout(Duration::from_secs(60), program(dpa));
        running.await.expect("it ends")
    });
    ended.expect("all well with threads");
    for seed in seeds(10) {
        let run = Sim::new(seed)
            .on(device.clone())
            .run(async |dpa| program(dpa).await);
        let ended = run.expect("a simulation").value;
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
