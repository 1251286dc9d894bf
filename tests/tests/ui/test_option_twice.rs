use doca_dpa::{Dpa, dpa_test};

#[dpa_test(seeds = 10, seeds = 20)]
async fn runs(dpa: Dpa) {
    drop(dpa);
}

fn main() {}
