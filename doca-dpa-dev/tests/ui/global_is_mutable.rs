use doca_dpa_dev::dpa_global;

#[dpa_global]
static mut HITS: doca_dpa_dev::Global<u64> = doca_dpa_dev::Global::new(0);

#[dpa_global]
static COUNT: u64 = 0;

#[dpa_global]
const LIMIT: u64 = 0;

fn main() {}
