use doca_dpa::{Dpa, dpa_test};

#[dpa_test]
async fn runs<T>(dpa: Dpa) {
    drop(dpa);
}

fn main() {}
