use doca_dpa::dpa_test;

#[dpa_test]
async fn runs() {}

fn main() {}
