use doca_dpa::{Dpa, dpa_test};

#[dpa_test(seed = 10)]
async fn runs(dpa: Dpa) {
    drop(dpa);
}

fn main() {}
