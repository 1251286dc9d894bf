//! Numbers of queues: what kernels know them by, and what those of another process or NIC are.

use flexio::queues::{
    CompletionKind, CompletionSpec, QueuePairQueues, QueuePairSpec, RawQueueError,
};
use flexio::rdma::Rights;
use tests::queues::*;

use super::rig::{Rig, address, both, write};

#[test]
fn numbers_of_another_process_are_refused() {
    both(async |device| {
        let victim = Rig::new(&device);
        let attacker = victim.beside();
        assert!(victim.nic.is(&attacker.nic));
        let (theirs, peer) = victim.two();
        let handler = victim.handler(&peer.completions, true);
        // Something for the attacker to let loose: the host of the victim has not rung for it.
        let answers = attacker.words();
        let args = RingForeignArgs {
            send: theirs.pair.number(),
            completions: peer.completions.number(),
            answers,
        };
        attacker.run(ring_foreign, args).await;
        let no_queue = u64::from(doca_dpa_dev::Errno::NoQueue.code());
        assert_eq!(attacker.read(answers), [2, 2, 2, no_queue]);
        assert_eq!(theirs.completions.poll(), Ok(None));
        assert_eq!(handler.handler.activations(), 0);
        // Queues of another process are no queues for one's own.
        let (receives, own) = (&theirs.receives, attacker.completions(4));
        let spec = QueuePairSpec::default();
        let queues = |send, receives| QueuePairQueues {
            send,
            receive: &own,
            receives,
        };
        let pair = attacker.nic.queue_pair(spec, queues(&own, Some(receives)));
        let what = "receive queue";
        assert_eq!(pair.expect_err("theirs"), RawQueueError::Foreign { what });
        let pair = attacker
            .nic
            .queue_pair(spec, queues(&theirs.completions, None));
        let what = "completion queue";
        assert_eq!(pair.expect_err("theirs"), RawQueueError::Foreign { what });
        // The victim goes on.
        let memory = victim.memory(Rights::all());
        write(&victim, &theirs, &memory, &memory, 1).await;
        assert_eq!(theirs.next().await.kind, CompletionKind::Send);
    });
}

#[test]
fn kernels_know_their_queues_by_the_numbers_that_the_host_knows() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, _b) = rig.two();
        let args = SayNumbersArgs {
            send: &a.pair,
            receive: &a.receives,
            completions: &a.completions,
            numbers: rig.words(),
        };
        let at = args.numbers;
        rig.run(say_numbers, args).await;
        let numbers = [
            a.pair.number(),
            a.receives.number(),
            a.completions.number(),
            0,
        ];
        assert_eq!(rig.read(at), numbers.map(u64::from));
    });
}

/// A process names its queues by number on all of its NICs, so no number is given twice.
#[test]
fn queues_of_two_nics_have_numbers_of_their_own() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (other, port) = address(18);
        let nic = rig.process.nic(other, port).expect("a NIC");
        let first = rig.completions(8);
        let spec = CompletionSpec::default();
        let second = nic.raw_completion_queue(spec).expect("a queue");
        assert_ne!(first.number(), second.number());
        for queue in [&first, &second] {
            let handler = rig.handler(queue, true);
            handler.is_idle(&rig).await;
        }
    });
}
