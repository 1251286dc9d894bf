use doca_dpa_dev::prelude::*;

#[dpa_kernel]
async fn waits(_thread: &Thread) {}

#[dpa_kernel]
const fn constant(_thread: &Thread) {}

#[dpa_kernel]
unsafe fn trusted(_thread: &Thread) {}

#[dpa_kernel]
extern "C" fn foreign(_thread: &Thread) {}

struct Own;

impl Own {
    #[dpa_kernel]
    fn method(&self) {}
}

fn main() {}
