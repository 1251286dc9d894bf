//! A key-value store that DPA threads serve over RDMA, and a bench that drives it.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::net::IpAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use examples::child::this_program;
use examples::exchange::{Exchange, Listener};
use examples::kv::{self, Figures, KvError, Load, News, Server, ServerOptions};
use examples::node::Place;
use examples::patience::patiently;
use examples::program;
use examples::say;
use tokio::process::Child;

/// A key-value store in the memory of a DPA: requests by RDMA send, responses by RDMA write, host processors out of the way.
///
/// Keys are numbers of 32 bits, values 1 to 256 bytes. Without a command a server and a bench are started on this machine,
/// as two processes. Every answer is compared with what must be stored.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// The address that this node's RDMA packets go to. Without it: the one that reaches the other side; on loopback the
    /// first of 127.0.0.2, 127.0.0.3, .. that is free.
    #[arg(long, global = true)]
    rdma: Option<IpAddr>,
    #[command(flatten)]
    shop: Shop,
    #[command(flatten)]
    demand: Demand,
}

/// What the server is made with.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
struct Shop {
    /// Entries of the store: 1 to 1048576, rounded up to a power of two; 65536 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    entries: Option<u32>,
    /// Threads that serve: 1 to 16; 2 unless given. Clients are dealt out to them.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: Option<u32>,
}

/// What the bench asks for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bench")]
struct Demand {
    /// Requests that are measured, at most: 1 to 100000000; 1000000 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(1..=100_000_000))]
    requests: Option<u64>,
    /// Seconds that are measured, at most: 1 to 600; 5 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(1..=600))]
    seconds: Option<u64>,
    /// Keys: 1 to 1048576; 10000 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    keys: Option<u32>,
    /// Bytes of a value: 1 to 256; 64 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=256))]
    value: Option<u32>,
    /// Requests under way at a time: 1 to 64; 32 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=64))]
    outstanding: Option<u32>,
    /// How many of a hundred requests are gets: 0 to 100; 90 unless given. Of the others three are puts for one delete.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=100))]
    gets: Option<u32>,
    /// Milliseconds that an answer may take: 100 to 600000; 5000 unless given.
    #[arg(long, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(100..=600_000))]
    timeout: Option<u64>,
}

#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// Waits for clients, and serves them until Ctrl-C.
    Serve {
        /// Where clients come to (TCP), as in 192.168.1.10:7472; with 0.0.0.0:7472 --rdma must say where packets go to.
        #[arg(long, default_value = "127.0.0.1:7472")]
        listen: String,
        #[command(flatten)]
        shop: Shop,
    },
    /// Drives a server.
    Bench {
        /// Where it waits (TCP), as in 192.168.1.10:7472.
        #[arg(long, default_value = "127.0.0.1:7472")]
        connect: String,
        #[command(flatten)]
        demand: Demand,
    },
}

impl Shop {
    fn entries(&self) -> u32 {
        self.entries.unwrap_or(1 << 16)
    }

    fn workers(&self) -> u32 {
        self.workers.unwrap_or(2)
    }

    /// What is given here, else there.
    fn or(&self, there: &Self) -> Self {
        Self {
            entries: self.entries.or(there.entries),
            workers: self.workers.or(there.workers),
        }
    }

    /// Ends the program if anything is given: a bench has no use for it.
    fn nothing_given(&self) {
        let given = [
            ("--entries", self.entries.is_some()),
            ("--workers", self.workers.is_some()),
        ];
        none_of("bench", "the server", &given);
    }
}

impl Demand {
    fn load(&self) -> Load {
        Load {
            requests: self.requests.unwrap_or(1_000_000),
            time: Duration::from_secs(self.seconds.unwrap_or(5)),
            keys: self.keys.unwrap_or(10_000),
            value: self.value.unwrap_or(64),
            outstanding: self.outstanding.unwrap_or(32),
            gets: self.gets.unwrap_or(90),
            patience: Duration::from_millis(self.timeout.unwrap_or(5000)),
        }
    }

    /// What is given here, else there.
    fn or(&self, there: &Self) -> Self {
        Self {
            requests: self.requests.or(there.requests),
            seconds: self.seconds.or(there.seconds),
            keys: self.keys.or(there.keys),
            value: self.value.or(there.value),
            outstanding: self.outstanding.or(there.outstanding),
            gets: self.gets.or(there.gets),
            timeout: self.timeout.or(there.timeout),
        }
    }

    /// Each option, and the number that is given for it.
    fn options(&self) -> [(&'static str, Option<u64>); 7] {
        [
            ("--requests", self.requests),
            ("--seconds", self.seconds),
            ("--keys", self.keys.map(u64::from)),
            ("--value", self.value.map(u64::from)),
            ("--outstanding", self.outstanding.map(u64::from)),
            ("--gets", self.gets.map(u64::from)),
            ("--timeout", self.timeout),
        ]
    }

    /// Ends the program if anything is given: a server has no use for it.
    fn nothing_given(&self) {
        let given = self.options().map(|(name, given)| (name, given.is_some()));
        none_of("serve", "the bench", &given);
    }
}

/// Ends the program if any of these options of `whose` is given: `role` would not heed it.
fn none_of(role: &str, whose: &str, options: &[(&str, bool)]) {
    if options.iter().any(|&(_, given)| given) {
        let names: Vec<_> = options.iter().map(|&(name, _)| name).collect();
        let said = format!(
            "`{role}` takes no options of {whose} ({})",
            names.join(", ")
        );
        Options::command()
            .bin_name("kv-server")
            .error(ErrorKind::ArgumentConflict, said)
            .exit();
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("kv-server", async {
        program::end("kv-server", run(&options).await)
    })
}

async fn run(options: &Options) -> Result<(), KvError> {
    match &options.role {
        None => both(options).await,
        Some(Role::Serve { listen, shop }) => {
            options.demand.nothing_given();
            let shop = shop.or(&options.shop);
            let served = serve(options, &shop, listen).await;
            served.map(|never| match never {})
        }
        Some(Role::Bench { connect, demand }) => {
            options.shop.nothing_given();
            let load = demand.or(&options.demand).load();
            drive(options, &load, connect).await
        }
    }
}

async fn serve(options: &Options, shop: &Shop, listen: &str) -> Result<Infallible, KvError> {
    let (mut server, mut listener) = open(options, shop, listen).await?;
    say!(
        "waiting at {} for clients; RDMA at {}, {} entries, {} threads",
        listener.local_addr()?,
        server.address(),
        server.entries(),
        shop.workers()
    );
    let told = |what: News<'_>| say!("{what}");
    server.serve(&mut listener, told).await
}

async fn open(options: &Options, shop: &Shop, listen: &str) -> Result<(Server, Listener), KvError> {
    // A client may be silent as long as it likes: that it lives is the connection's to find out.
    let session = kv::session().with_timeout(Duration::MAX);
    let listener = Listener::bind(listen, session).await?;
    let reached = listener.local_addr()?.ip();
    let place = match options.rdma {
        Some(address) => Place::At(address),
        None if reached.is_unspecified() => {
            return Err(KvError::NoOneAddress { address: reached });
        }
        None => Place::reached_from(reached),
    };
    let options = ServerOptions {
        place,
        entries: shop.entries(),
        workers: shop.workers(),
    };
    Ok((Server::open(&options).await?, listener))
}

async fn drive(options: &Options, load: &Load, connect: &str) -> Result<(), KvError> {
    // What is wrong with an address that is given is said before the server is asked for.
    let there = options.rdma.map(|at| kv::node(Place::At(at))).transpose()?;
    let connecting = Exchange::connect(connect, kv::session(), Duration::from_secs(10));
    let exchange = patiently(&format!("a server at {connect}"), connecting).await?;
    let reached = Place::reached_from(exchange.local_addr().ip());
    let node = there.map_or_else(|| kv::node(reached), Ok)?;
    let figures = kv::bench(node, exchange, load).await?;
    print(load, &figures);
    Ok(())
}

/// This process is the server, a child the bench, which prints.
async fn both(options: &Options) -> Result<(), KvError> {
    let (mut server, mut listener) = open(options, &options.shop, "127.0.0.1:0").await?;
    let mut child = start(&options.demand, &listener.local_addr()?.to_string())?;
    let mut why = None;
    let status = tokio::select! {
        served = server.serve(&mut listener, |what| if let News::NotLetIn(_) = what {
            why = Some(what.to_string());
        }) => return served.map(|never| match never {}),
        status = child.wait() => status.map_err(KvError::Start)?,
    };
    match status.success() {
        true => Ok(()),
        false => Err(KvError::Bench { status, why }),
    }
}

/// The same program as the bench, with all its options but the address: that is the server's.
fn start(demand: &Demand, address: &str) -> Result<Child, KvError> {
    let given = demand.options().into_iter();
    let given = given.filter_map(|(name, given)| Some(format!("{name}={}", given?)));
    this_program()
        .map_err(KvError::Start)?
        .args(["bench", "--connect", address])
        .args(given)
        .stdout(Stdio::inherit())
        .spawn()
        .map_err(KvError::Start)
}

fn print(load: &Load, figures: &Figures) {
    let us = |share| figures.percentile(share).as_nanos() as f64 / 1000.0;
    say!(
        "{} requests of {} keys, values of {} bytes, {} under way, {} % gets ({} hits)",
        figures.requests,
        load.keys,
        load.value,
        load.outstanding,
        load.gets,
        figures.hits
    );
    say!("{:.0} operations/s", figures.per_second());
    say!(
        "latency, us: p50 {:.1}  p99 {:.1}  p99.9 {:.1}",
        us(0.5),
        us(0.99),
        us(0.999)
    );
    if figures.full > 0 {
        say!("{} puts found the store full", figures.full);
    }
    say!("verified");
}
