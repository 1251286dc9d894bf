//! A kernel with arguments, launched without them.
use doca_dpa::Dpa;
use tests::count;

fn launch(dpa: &Dpa) {
    let _ = dpa.launch(count).submit();
}

fn main() {}
