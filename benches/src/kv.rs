//! The key-value store of the examples.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use examples::exchange::{Exchange, Listener};
use examples::kv::{self, Figures, KvError, Load, Server, ServerOptions};
use examples::node::Place;

use crate::row::Row;
use crate::slices::Plan;

/// One client with 32 requests under way, values of 64 bytes. Two devices in one process, each with a worker and a NIC of its own:
/// packets go through the system's UDP on loopback.
pub(crate) fn server(plan: &Plan) -> Row {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let figures = runtime.block_on(both(plan.time)).expect("served");
    let us = |share| figures.percentile(share).as_nanos() as f64 / 1000.0;
    let per_second = figures.per_second();
    Row::new(
        "flexio",
        "kv-server",
        1e9 / per_second,
        "operations/s and p99",
    )
    .with("operations_per_s", per_second)
    .with("p50_us", us(0.5))
    .with("p99_us", us(0.99))
    .with("p99_9_us", us(0.999))
}

async fn both(time: Duration) -> Result<Figures, KvError> {
    let session = kv::session().with_timeout(Duration::from_secs(3600));
    let mut listener = Listener::bind("127.0.0.1:0", session).await?;
    let address = listener.local_addr()?;
    let options = ServerOptions {
        place: Place::Loopback,
        entries: 1 << 16,
        workers: 1,
    };
    let mut server = Server::open(&options).await?;
    tokio::select! {
        served = server.serve(&mut listener, |_| {}) => served.map(|never: Infallible| match never {}),
        figures = client(address, time) => figures,
    }
}

async fn client(address: SocketAddr, time: Duration) -> Result<Figures, KvError> {
    let patience = Duration::from_secs(10);
    let exchange = Exchange::connect(&address.to_string(), kv::session(), patience).await?;
    let load = Load {
        requests: 20_000_000,
        time,
        keys: 10_000,
        value: 64,
        outstanding: 32,
        gets: 90,
        patience,
    };
    kv::bench(kv::node(Place::Loopback)?, exchange, &load).await
}
