//! What programs say while they wait for others.

use std::time::Duration;

use crate::child::is_child;
use crate::say;

/// What takes longer than this is worth a word.
const LONG: Duration = Duration::from_secs(1);

/// What `future` gives; if that takes a while, says once what is waited for. A child says nothing: its parent is where it waits.
///
/// # Cancel safety
/// That of `future`.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    tokio::select! {
        done = &mut future => return done,
        () = tokio::time::sleep(LONG) => {}
    }
    if !is_child() {
        say!("waiting for {what}");
    }
    future.await
}
