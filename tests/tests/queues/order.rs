//! Completions of a send queue come in the order of its entries, whatever those ask for.

use flexio::queues::{CompletionKind, QueuePairSpec, Syndrome};
use flexio::rdma::{RetryLimit, Rights};
use flexio::{Device, Event};
use tests::queues::{
    PostKindsArgs, SIGNALED_READ, SIGNALED_WRITE, SILENT_WRITE, WAIT_FOR_NOTHING, WAIT_THAT_HOLDS,
    post_kinds,
};

use super::rig::{End, Rig, both, over_verbs};

/// Two ends, of which the second does not answer yet, and what is posted to the first.
struct Stalled {
    rig: Rig,
    one: End,
    other: End,
    memory: [super::rig::Memory; 2],
    event: Event,
}

impl Stalled {
    /// Posts entries of these kinds.
    async fn new(device: &Device, depth: u8, kinds: &[u64]) -> Self {
        let rig = Rig::new(device);
        let end = |name| {
            rig.end_of(QueuePairSpec {
                name,
                depth,
                // However long it takes until the other answers.
                retries: RetryLimit::Forever,
                ..QueuePairSpec::default()
            })
        };
        let (one, other) = (end(1), end(2));
        one.pair.init().expect("RST");
        one.pair.ready_to_receive(other.pair.info()).expect("INIT");
        one.pair.ready_to_send().expect("RTR");
        let memory = [rig.memory(Rights::LOCAL_WRITE), rig.memory(Rights::all())];
        let stalled = Self {
            event: rig.event(),
            rig,
            one,
            other,
            memory,
        };
        stalled.post(kinds).await;
        stalled
    }

    async fn post(&self, kinds: &[u64]) {
        let [from, to] = &self.memory;
        let args = PostKindsArgs {
            queue: &self.one.pair,
            kinds: kinds.iter().rev().fold(0, |all, kind| all << 8 | kind),
            event: self.event.handle(),
            local: from.local(0, 8),
            remote: to.remote(0, 8),
        };
        self.rig.run(post_kinds, args).await;
    }

    /// From now on the other answers.
    fn go_on(&self) {
        let pair = &self.other.pair;
        pair.init().expect("RST");
        pair.ready_to_receive(self.one.pair.info()).expect("INIT");
        pair.ready_to_send().expect("RTR");
    }

    /// The entries whose completions come next, and what those say.
    async fn next<const N: usize>(&self) -> [(u16, Syndrome); N] {
        let mut all = [(0, Syndrome::NONE); N];
        for one in &mut all {
            let done = self.one.next().await;
            *one = (done.index, done.syndrome);
            let well = done.kind == CompletionKind::Send;
            assert_eq!(well, done.syndrome == Syndrome::NONE);
        }
        all
    }
}

const WELL: Syndrome = Syndrome::NONE;

#[test]
fn rule_6_7_a_wait_is_over_behind_what_was_posted_before_it() {
    both(async |device| {
        if over_verbs() {
            // The device gives up at once on a peer that does not answer.
            return;
        }
        let kinds = [SIGNALED_WRITE, WAIT_THAT_HOLDS, WAIT_THAT_HOLDS];
        let queue = Stalled::new(&device, 1, &kinds).await;
        assert_eq!(queue.one.completions.poll(), Ok(None));
        queue.go_on();
        assert_eq!(queue.next().await, [(0, WELL), (1, WELL), (2, WELL)]);
        // Of what is not reported itself, too.
        queue.post(&[SILENT_WRITE, WAIT_THAT_HOLDS]).await;
        assert_eq!(queue.next().await, [(4, WELL)]);
    });
}

#[test]
fn rule_6_7_what_is_impossible_fails_behind_what_was_posted_before_it() {
    both(async |device| {
        if over_verbs() {
            return;
        }
        for impossible in [SIGNALED_READ, WAIT_FOR_NOTHING] {
            // Without reads and atomics under way.
            let kinds = [SIGNALED_WRITE, impossible, SIGNALED_WRITE];
            let queue = Stalled::new(&device, 0, &kinds).await;
            queue.go_on();
            let failed = Syndrome::LOCAL_OPERATION;
            let expected = [(0, WELL), (1, failed), (2, Syndrome::FLUSHED)];
            assert_eq!(queue.next().await, expected);
        }
    });
}

#[test]
fn rule_6_7_what_is_posted_to_a_failed_queue_is_flushed_in_order() {
    both(async |device| {
        let queue = Stalled::new(&device, 1, &[]).await;
        queue.one.pair.set_error_state();
        let kinds = [
            SIGNALED_WRITE,
            WAIT_THAT_HOLDS,
            SILENT_WRITE,
            WAIT_FOR_NOTHING,
            SIGNALED_WRITE,
        ];
        queue.post(&kinds).await;
        let flushed = std::array::from_fn(|index| (index as u16, Syndrome::FLUSHED));
        assert_eq!(queue.next::<5>().await, flushed);
    });
}
