//! Receive queues of the low layer over verbs.

use std::future::poll_fn;

use doca_dpa_dev::Buf;
use dpa_abi::{IntoArgs, Kernel};
use flexio::queues::{
    CompletionQueue, CompletionSpec, QueuePair, QueuePairQueues, QueuePairSpec, ReceiveQueue,
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

fn end(nic: &Nic) -> Outcome<End> {
    let completions = nic.raw_completion_queue(CompletionSpec {
        entries: 64,
        ..CompletionSpec::default()
    })?;
    let receives = nic.receive_queue(8)?;
    let queues = QueuePairQueues {
        send: &completions,
        receive: &completions,
        receives: Some(&receives),
    };
    let pair = nic.queue_pair(QueuePairSpec::default(), queues)?;
    pair.init()?;
    Ok(End {
        pair,
        completions,
        receives,
    })
}

async fn run<K: Kernel>(process: &Process, kernel: K, args: impl IntoArgs<K::Args>) -> Outcome {
    let (wire, kept) = args.into_args();
    let command = Command::kernel(kernel.entry(), wire).keep(kept);
    let submitted = command.submit(process).map_err(|(error, _)| error)?;
    match soon(poll_fn(|cx| submitted.poll(cx))).await? {
        Ended::Completed => Ok(()),
        _ => Err("the kernel failed".into()),
    }
}

/// A message has arrived, which the device has not reported yet, when the receive queue is put into the error state.
pub async fn put_into_error() -> Outcome<String> {
    let device = Device::open(DeviceConfig {
        workers: 1,
        ..DeviceConfig::default()
    })?;
    let process = device.process()?;
    let nic = process.nic(HERE.into(), rdma::udp::ROCE_PORT)?;
    let (a, b) = (end(&nic)?, end(&nic)?);
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
    let receives = PostReceivesArgs {
        queue: &b.receives,
        first: word,
        times: 3,
    };
    run(&process, post_receives, receives).await?;
    let message = PostArgs {
        queue: &a.pair,
        work: Work {
            opcode: SEND,
            swap_or_add: 0,
            compare: 0,
        },
        local: word,
        remote: doca_dpa_dev::RemoteBuf {
            address: 0,
            key: 0,
            len: 0,
        },
        times: 1,
    };
    run(&process, post, message).await?;
    let sent = soon(a.completions.next()).await??;
    b.receives.set_error_state();
    let mut said = format!("{:?}", sent.kind);
    for _ in 0..3 {
        let done = soon(b.completions.next()).await??;
        said += &format!(", {:?} {}", done.kind, done.index);
    }
    Ok(said)
}
