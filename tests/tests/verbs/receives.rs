//! Queues of the low layer over verbs.

use std::any::Any;
use std::future::poll_fn;

use doca_dpa_dev::Buf;
use dpa_abi::{IntoArgs, Kernel};
use flexio::queues::{
    CompletionKind, CompletionQueue, CompletionSpec, QueuePair, QueuePairQueues, QueuePairSpec,
    ReceiveQueue,
};
use flexio::rdma::{Nic, Rights};
use flexio::{Command, Device, DeviceConfig, Outcome as Ended, Process};
use tests::queues::{PostArgs, PostReceivesArgs, SEND, Work, post, post_receives};

use super::ends::soon;
use super::{HERE, Outcome};

struct End {
    pair: QueuePair,
    completions: CompletionQueue,
    receives: ReceiveQueue,
}

fn end(nic: &Nic, receives: u32, spec: &QueuePairSpec) -> Outcome<End> {
    let completions = nic.raw_completion_queue(CompletionSpec {
        entries: spec.send_entries + receives,
        ..CompletionSpec::default()
    })?;
    let receives = nic.receive_queue(receives)?;
    let queues = QueuePairQueues {
        send: &completions,
        receive: &completions,
        receives: Some(&receives),
    };
    let pair = nic.queue_pair(spec.clone(), queues)?;
    pair.init()?;
    Ok(End {
        pair,
        completions,
        receives,
    })
}

/// Two that are each other's peer, and a word of device memory.
struct Ends {
    process: Process,
    nic: Nic,
    a: End,
    b: End,
    word: Buf,
    _memory: Box<dyn Any>,
}

impl Ends {
    /// With receive queues of so many entries.
    fn new(receives: u32) -> Outcome<Self> {
        Self::of(receives, &QueuePairSpec::default())
    }

    fn of(receives: u32, spec: &QueuePairSpec) -> Outcome<Self> {
        let device = Device::open(DeviceConfig {
            workers: 1,
            ..DeviceConfig::default()
        })?;
        let process = device.process()?;
        let nic = process.nic(HERE.into(), rdma::udp::ROCE_PORT)?;
        let (a, b) = (end(&nic, receives, spec)?, end(&nic, receives, spec)?);
        for (one, other) in [(&a, &b), (&b, &a)] {
            one.pair.ready_to_receive(other.pair.info())?;
        }
        a.pair.ready_to_send()?;
        b.pair.ready_to_send()?;
        let at = process.alloc(64, true)?;
        let memory = nic.register_device(at, 64, Rights::LOCAL_WRITE)?;
        let word = Buf {
            address: memory.local_base(),
            len: 8,
            key: memory.local_key(),
        };
        Ok(Self {
            process,
            nic,
            a,
            b,
            word,
            _memory: Box::new(memory),
        })
    }

    async fn run<K: Kernel>(&self, kernel: K, args: impl IntoArgs<K::Args>) -> Outcome {
        let (wire, kept) = args.into_args();
        let command = Command::kernel(kernel.entry(), wire).keep(kept);
        let submitted = command.submit(&self.process).map_err(|(error, _)| error)?;
        match soon(poll_fn(|cx| submitted.poll(cx))).await? {
            Ended::Completed => Ok(()),
            _ => Err("the kernel failed".into()),
        }
    }

    /// `b` has so many receives.
    async fn receive(&self, times: u64) -> Outcome {
        let receives = PostReceivesArgs {
            queue: &self.b.receives,
            first: self.word,
            times,
        };
        self.run(post_receives, receives).await
    }

    /// `a` sends a message.
    async fn send(&self) -> Outcome {
        self.send_many(1).await
    }

    /// `a` sends so many messages.
    async fn send_many(&self, times: u64) -> Outcome {
        let message = PostArgs {
            queue: &self.a.pair,
            work: Work {
                opcode: SEND,
                swap_or_add: 0,
                compare: 0,
            },
            local: self.word,
            remote: doca_dpa_dev::RemoteBuf {
                address: 0,
                key: 0,
                len: 0,
            },
            times,
        };
        self.run(post, message).await
    }
}

/// A message has arrived, which the device has not reported yet, when the receive queue is put into the error state.
pub async fn put_into_error() -> Outcome<String> {
    let ends = Ends::new(8)?;
    ends.receive(3).await?;
    ends.send().await?;
    let sent = soon(ends.a.completions.next()).await??;
    ends.b.receives.set_error_state();
    let mut said = format!("{:?}", sent.kind);
    for _ in 0..3 {
        let done = soon(ends.b.completions.next()).await??;
        said += &format!(", {:?} {}", done.kind, done.index);
    }
    Ok(said)
}

/// That is done again before it is over, when more has been posted than the device is given.
pub async fn put_into_error_again() -> Outcome<String> {
    const POSTED: u64 = 400;
    let ends = Ends::new(512)?;
    ends.receive(POSTED).await?;
    ends.send().await?;
    soon(ends.a.completions.next()).await??;
    ends.b.receives.set_error_state();
    ends.b.receives.set_error_state();
    let mut flushed = 0;
    for index in 0..POSTED {
        let done = soon(ends.b.completions.next()).await??;
        assert_eq!(u64::from(done.index), index);
        flushed += u64::from(done.kind == CompletionKind::ReceiveError);
    }
    Ok(format!("{flushed} flushed"))
}

/// A device that has nothing under way takes no work before it has another queue pair.
pub async fn without_room() -> Outcome<String> {
    let ends = Ends::new(8)?;
    ends.receive(1).await?;
    ends.send().await?;
    let _another = end(&ends.nic, 8, &QueuePairSpec::default())?;
    let sent = soon(ends.a.completions.next()).await??;
    Ok(format!("{:?}", sent.kind))
}

/// A queue pair goes whose entries are more than the device takes at a time, and nobody receives them: how many of them end.
pub async fn dropped_full() -> Outcome<String> {
    const ENTRIES: u32 = 256;
    let ends = Ends::of(
        8,
        &QueuePairSpec {
            send_entries: ENTRIES,
            outstanding: 16,
            ..QueuePairSpec::default()
        },
    )?;
    ends.send_many(ENTRIES.into()).await?;
    let End {
        pair, completions, ..
    } = ends.a;
    drop(pair);
    for number in 0..ENTRIES {
        let done = soon(completions.next()).await??;
        assert!(
            done.kind != CompletionKind::Send,
            "{number}: nobody receives it"
        );
    }
    Ok(ENTRIES.to_string())
}
