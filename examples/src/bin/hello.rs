//! The smallest program: four threads of one kernel say hello through the host's log.
#![forbid(unsafe_code)]

use doca_dpa::{Dpa, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .init();
    let dpa = Dpa::open()?;
    dpa.launch(examples_kernels::hello)
        .threads(4)
        .submit()?
        .await?;
    println!("all four have returned");
    Ok(())
}
