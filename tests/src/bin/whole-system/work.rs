//! What nodes do. Each task checks what it promises, and says which rules it has seen to hold.

mod events;
mod faults;
mod launches;
mod memory;
mod rdma;
mod threads;

use crate::cluster::{Started, World};

/// A task: its name, and how it is started.
pub type Task = (&'static str, for<'a> fn(&'a World<'a>) -> Started<'a>);

macro_rules! tasks {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// All of them.
        pub const ALL: &[Task] = &[$((
            stringify!($name),
            |world| Box::pin($module::$name(world)),
        )),*];
    };
}

tasks! {
    events::conditions,
    events::waits_that_end_early,
    events::closed_events,
    events::order_of_waking,
    launches::chain,
    launches::gang,
    launches::waiting_head,
    launches::calls,
    launches::stream,
    launches::started_in_order,
    launches::polling,
    memory::buffers,
    memory::stores_do_not_tear,
    memory::shared_by_hand,
    memory::globals_and_windows,
    memory::jobs_and_tables,
    rdma::signals,
    rdma::atomics,
    rdma::messages,
    rdma::buffer_arrays,
    rdma::wrong_keys,
    rdma::overruns,
    rdma::a_peer_that_vanishes,
    threads::notified,
    threads::continuable,
    threads::served,
    faults::each_kind,
    faults::deadlock,
    faults::error_handlers,
    faults::by_a_peer,
}
