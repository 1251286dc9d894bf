//! A process with a NIC, memory that is registered with it, and pairs of queue pairs.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use doca_dpa::{Location, Locations};
use doca_dpa_dev::{Buf, RemoteBuf};
use dpa_abi::{Condition, DevAddr, IntoArgs, Kernel};
use flexio::queues::{
    CompletionEntry, CompletionQueue, CompletionSpec, QueuePair, QueuePairQueues, QueuePairSpec,
    ReceiveQueue,
};
use flexio::rdma::{Nic, Rights};
use flexio::{
    Command, Device, DeviceConfig, Event, EventHandler, HandlerState, Outcome, Process,
    Registration, SimPlan, simulate,
};
use tests::queues::{OnCompletionArgs, PostArgs, PostReceivesArgs, Work, on_completion, post};
use tests::queues::{WRITE, post_receives};

use crate::seeds::seeds;

/// Addresses of this machine, separated by commas, at which there are devices behind verbs.
const VARIABLE: &str = "DPA_TEST_ADDRESSES";

/// Whether the NICs are devices behind verbs, each with its own ways.
pub fn over_verbs() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The address and port of a NIC: the software NIC's, on loopback and at any port, or a device's.
pub fn address(number: u8) -> (IpAddr, u16) {
    match std::env::var(VARIABLE) {
        Ok(all) => {
            let all: Vec<&str> = all.split(',').collect();
            let at = all[usize::from(number) % all.len()];
            (at.parse().expect("an address"), rdma::udp::ROCE_PORT)
        }
        Err(_) => (Ipv4Addr::new(127, 0, 0, 1 + number).into(), 0),
    }
}

pub fn config() -> DeviceConfig {
    DeviceConfig {
        workers: 2,
        heap_bytes: 1 << 22,
        ..DeviceConfig::default()
    }
}

/// Runs a scenario on a device with threads of its own, and on simulated ones of several seeds.
pub fn both<F: Future<Output = ()>>(scenario: impl Fn(Device) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build().expect("a runtime");
    let device = Device::open(config()).expect("a device");
    runtime.block_on(async {
        let limit = Duration::from_secs(60);
        let run = tokio::time::timeout(limit, scenario(device));
        run.await.expect("it ends");
    });
    for seed in seeds(20) {
        simulate(
            SimPlan {
                seed,
                config: config(),
                ..SimPlan::default()
            },
            &scenario,
        )
        .expect("a simulation");
    }
}

/// A process and its share in a NIC.
pub struct Rig {
    pub process: Process,
    pub nic: Nic,
}

impl Rig {
    pub fn new(device: &Device) -> Self {
        Self::at(device, address(0))
    }

    pub fn at(device: &Device, (address, port): (IpAddr, u16)) -> Self {
        let process = device.process().expect("a process");
        let nic = process.nic(address, port).expect("a NIC");
        Self { process, nic }
    }

    /// Another process with a share in the same NIC.
    pub fn beside(&self) -> Self {
        let at = self.nic.address();
        Self::at(self.process.device(), (at.ip(), at.port()))
    }

    /// Runs a kernel once.
    pub async fn run<K: Kernel>(&self, kernel: K, args: impl IntoArgs<K::Args>) {
        self.run_threads(1, kernel, args).await;
    }

    /// Runs a kernel with so many threads.
    pub async fn run_threads<K: Kernel>(
        &self,
        threads: u32,
        kernel: K,
        args: impl IntoArgs<K::Args>,
    ) {
        let (wire, kept) = args.into_args();
        let command = Command::kernel(kernel.entry(), wire).keep(kept);
        let command = command.threads(threads);
        let submitted = command.submit(&self.process);
        let submitted = submitted.map_err(|(error, _)| error).expect("taken");
        let outcome = poll_fn(|cx| submitted.poll(cx)).await;
        assert_eq!(outcome, Outcome::Completed, "{:?}", self.process.fault());
    }

    /// Waits until nothing runs or is ready to.
    pub async fn idle(&self) {
        poll_fn(|cx| self.process.poll_idle(cx)).await;
    }

    /// Four words, zeroed.
    pub fn words(&self) -> DevAddr<u64> {
        DevAddr::from_raw(self.process.alloc(32, true).expect("memory"))
    }

    /// What stands in four words.
    pub fn read(&self, at: DevAddr<u64>) -> [u64; 4] {
        let mut bytes = [0; 32];
        self.process.read(at.raw(), &mut bytes).expect("its memory");
        std::array::from_fn(|n| {
            u64::from_le_bytes(bytes[n * 8..][..8].try_into().expect("eight bytes"))
        })
    }

    pub fn memory(&self, rights: Rights) -> Memory {
        let at = self.process.alloc(256, true).expect("memory");
        let key = self.nic.register_device(at, 256, rights);
        let key = key.expect("a region");
        Memory { at, key }
    }

    pub fn queue(&self, spec: CompletionSpec) -> CompletionQueue {
        self.nic.raw_completion_queue(spec).expect("a queue")
    }

    /// A completion queue of so many entries.
    pub fn completions(&self, entries: u32) -> CompletionQueue {
        self.queue(CompletionSpec {
            entries,
            ..CompletionSpec::default()
        })
    }

    /// One end of a connection, with queues of its own.
    pub fn end(&self, name: u32) -> End {
        self.end_of(QueuePairSpec {
            name,
            ..QueuePairSpec::default()
        })
    }

    pub fn end_of(&self, spec: QueuePairSpec) -> End {
        let receives = self.nic.receive_queue(8).expect("a queue");
        self.end_with(spec, receives, self.completions(64))
    }

    pub fn end_with(
        &self,
        spec: QueuePairSpec,
        receives: ReceiveQueue,
        completions: CompletionQueue,
    ) -> End {
        let queues = QueuePairQueues {
            send: &completions,
            receive: &completions,
            receives: Some(&receives),
        };
        let pair = self.nic.queue_pair(spec, queues).expect("a queue pair");
        End {
            pair,
            completions,
            receives,
        }
    }

    /// Two connected ends, named 1 and 2.
    pub fn two(&self) -> (End, End) {
        let (a, b) = (self.end(1), self.end(2));
        connect(&a, &b);
        (a, b)
    }

    /// Posts the same work so many times.
    pub async fn post(&self, end: &End, work: Work, local: Buf, remote: RemoteBuf, times: u64) {
        let args = PostArgs {
            queue: &end.pair,
            work,
            local,
            remote,
            times,
        };
        self.run(post, args).await;
    }

    pub async fn receive(&self, queue: &ReceiveQueue, first: Buf, times: u64) {
        let args = PostReceivesArgs {
            queue,
            first,
            times,
        };
        self.run(post_receives, args).await;
    }

    pub fn event(&self) -> Event {
        let here = Location::Host | Location::Device;
        let locations = Locations::new(here, here).expect("locations");
        self.process.event(0, locations).expect("an event")
    }

    /// A handler that is attached to this queue, running; its counts, and the event it adds completions to.
    pub fn handler(&self, queue: &CompletionQueue, arms: bool) -> Handler {
        let (event, counts) = (self.event(), self.words());
        let args = OnCompletionArgs {
            queue,
            event: event.handle(),
            arms: u64::from(arms),
            counts,
        };
        let (wire, kept) = args.into_args();
        let handler = self.process.event_handler(on_completion.entry(), wire);
        let handler = handler.keep(Some(Box::new(kept)));
        let handler = handler.create().expect("a handler");
        queue.attach(&handler).expect("the first");
        handler.run().expect("new");
        Handler {
            handler,
            event,
            counts,
        }
    }
}

pub struct Handler {
    pub handler: EventHandler,
    event: Event,
    pub counts: DevAddr<u64>,
}

impl Handler {
    /// Waits until it neither runs nor is about to.
    pub async fn is_idle(&self, rig: &Rig) {
        for _ in 0..100_000 {
            rig.idle().await;
            if self.handler.state() == HandlerState::Idle {
                return;
            }
            std::thread::yield_now();
        }
        panic!("it is {:?}", self.handler.state());
    }

    /// Waits until it has read so many completions.
    pub async fn has_read(&self, count: u64) {
        let wait = self.event.wait(Condition::ge(count));
        wait.expect("the host waits").await.expect("open");
    }
}

/// Registered memory.
pub struct Memory {
    pub at: u64,
    pub key: Registration,
}

impl Memory {
    pub fn local(&self, offset: u64, len: u32) -> Buf {
        Buf {
            address: self.key.local_base() + offset,
            len,
            key: self.key.local_key(),
        }
    }

    pub fn remote(&self, offset: u64, len: u32) -> RemoteBuf {
        let exported = self.key.export();
        RemoteBuf {
            address: exported.base + offset,
            key: exported.key.0,
            len,
        }
    }
}

/// One end of a connection. The host reads its completions.
pub struct End {
    pub pair: QueuePair,
    pub completions: CompletionQueue,
    pub receives: ReceiveQueue,
}

impl End {
    pub async fn next(&self) -> CompletionEntry {
        self.completions.next().await.expect("a completion")
    }
}

/// Both to RTR, then both to RTS.
pub fn connect(a: &End, b: &End) {
    for (one, other) in [(a, b), (b, a)] {
        one.pair.init().expect("RST");
        let theirs = other.pair.info();
        one.pair.ready_to_receive(theirs).expect("INIT");
    }
    for end in [a, b] {
        end.pair.ready_to_send().expect("RTR");
    }
}

pub const fn work(opcode: u64) -> Work {
    Work {
        opcode,
        swap_or_add: 0,
        compare: 0,
    }
}

/// Nowhere.
pub const NONE: RemoteBuf = RemoteBuf {
    address: 0,
    key: 0,
    len: 0,
};

/// Writes 8 bytes from one memory to the other, so many times.
pub async fn write(rig: &Rig, end: &End, from: &Memory, to: &Memory, times: u64) {
    let (local, remote) = (from.local(0, 8), to.remote(0, 8));
    rig.post(end, work(WRITE), local, remote, times).await;
}
