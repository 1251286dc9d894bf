use doca_dpa::{Dpa, dpa_test};

#[dpa_test(seeds = 10)]
fn waits(dpa: Dpa) {
    drop(dpa);
}

fn main() {}
