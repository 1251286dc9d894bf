//! Turns of the host program. In a simulation others may go on wherever a program awaits something of the device, also where it
//! need not wait: elsewhere it shares the machine with them, and any of them may be faster.

use std::future::poll_fn;

use flexio::ProcessRef;

/// Waits for the program's turn. Outside of simulations it always is.
pub(crate) async fn turn(process: &ProcessRef) {
    poll_fn(|cx| process.device().poll_turn(cx)).await;
}

/// Does something that takes no time of its own: others may go on before it, and behind it.
///
/// Cancel safety: dropped before it is ready, it may have been done or not.
pub(crate) async fn in_turn<R>(process: &ProcessRef, act: impl FnOnce() -> R) -> R {
    turn(process).await;
    let result = act();
    turn(process).await;
    result
}
