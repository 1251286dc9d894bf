//! Completion queues: who is told of what is complete, and what comes of more than fits.

use std::time::Duration;

use flexio::queues::{
    CompletionKind, CompletionSpec, HostReadError, Moderation, OverrunPolicy, QueuePairSpec,
    QueuePairState,
};
use flexio::rdma::{Cause, Rights};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tests::queues::*;

use super::rig::{Rig, both, connect, write};

#[test]
fn a_handler_that_arms_again_sees_every_completion() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, _b) = rig.two();
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        let handler = rig.handler(&a.completions, true);
        for round in 1..=10 {
            write(&rig, &a, &from, &to, 3).await;
            handler.has_read(round * 3).await;
        }
        let [activations, read, name, _] = rig.read(handler.counts);
        assert_eq!((read, name), (30, 1));
        assert!((10..=31).contains(&activations), "{activations}");
    });
}

/// Nobody starts it any more: tasks of the host are told again, and another can be attached.
#[test]
fn a_handler_that_is_gone_is_attached_no_longer() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, b) = rig.two();
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        for end in [&a, &b] {
            drop(rig.handler(&end.completions, true));
            rig.idle().await;
        }
        let another = rig.handler(&b.completions, true);
        write(&rig, &a, &from, &to, 1).await;
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        write(&rig, &b, &to, &from, 1).await;
        another.has_read(1).await;
    });
}

/// Nothing is lost: whoever arms later is told of what is there at once.
#[test]
fn a_handler_that_never_arms_again_is_triggered_once() {
    both(async |device| {
        let rig = Rig::new(&device);
        let queue = rig.completions(64);
        let handler = rig.handler(&queue, false);
        let number = queue.number();
        rig.run(dummy, DummyArgs { number, times: 1 }).await;
        handler.has_read(1).await;
        rig.run(dummy, DummyArgs { number, times: 5 }).await;
        let answers = rig.words();
        let (queue, consumer) = (&queue, 1);
        let args = ArmArgs {
            queue,
            consumer,
            answers,
        };
        // Still asleep: so many dummies later there was one activation.
        assert_eq!(handler.handler.activations(), 1);
        rig.run(arm, args).await;
        handler.has_read(6).await;
        assert_eq!(handler.handler.activations(), 2);
        assert_eq!(rig.read(answers)[0], 0);
        assert_eq!(rig.read(handler.counts)[3], CompletionKind::Dummy as u64);
        // An index that was never reached.
        let args = ArmArgs {
            queue,
            consumer: 100,
            answers,
        };
        rig.run(arm, args).await;
        assert_eq!(rig.read(answers)[0], 3);
    });
}

#[test]
fn a_queue_that_is_always_armed_needs_no_arming() {
    both(async |device| {
        let rig = Rig::new(&device);
        let queue = rig.queue(CompletionSpec {
            entries: 64,
            always_armed: true,
            ..CompletionSpec::default()
        });
        let handler = rig.handler(&queue, false);
        let number = queue.number();
        for round in 1..=5 {
            rig.run(dummy, DummyArgs { number, times: 2 }).await;
            handler.has_read(round * 2).await;
        }
        assert!((5..=10).contains(&handler.handler.activations()));
    });
}

#[test]
fn moderation_makes_one_notification_of_many_completions() {
    both(async |device| {
        let rig = Rig::new(&device);
        let moderation = Moderation {
            count: 4,
            period: Duration::from_micros(4000),
        };
        let queue = rig.queue(CompletionSpec {
            entries: 64,
            always_armed: true,
            moderation,
            ..CompletionSpec::default()
        });
        assert_eq!(queue.moderation(), moderation);
        let handler = rig.handler(&queue, false);
        let number = queue.number();
        let before = device.now();
        rig.run(dummy, DummyArgs { number, times: 40 }).await;
        handler.has_read(40).await;
        handler.is_idle(&rig).await;
        // On a machine that is slow periods may have ended meanwhile, each with a notification.
        let ended = (device.now() - before).as_micros() / moderation.period.as_micros();
        let activations = u128::from(handler.handler.activations());
        assert!((1..=10 + ended).contains(&activations), "{activations}");
        // Fewer than that are told of when the period is over. None has begun yet.
        queue.set_moderation(moderation).expect("as before");
        handler.is_idle(&rig).await;
        let before = device.now();
        rig.run(dummy, DummyArgs { number, times: 3 }).await;
        handler.has_read(43).await;
        assert!(device.now() - before >= moderation.period);
        // And from now on each by itself.
        queue.set_moderation(Moderation::NONE).expect("none");
        rig.run(dummy, DummyArgs { number, times: 1 }).await;
        handler.has_read(44).await;
        assert_eq!(queue.moderation(), Moderation::NONE);
        let (count, period) = (2, Duration::from_millis(5));
        let refused = queue.set_moderation(Moderation { count, period });
        assert!(refused.expect_err("too long").to_string().contains("5ms"));
    });
}

#[test]
fn a_queue_that_overruns_fails_who_reports_to_it() {
    both(async |device| {
        let rig = Rig::new(&device);
        let receives = rig.nic.receive_queue(4).expect("a queue");
        let a = rig.end_with(QueuePairSpec::default(), receives, rig.completions(4));
        let b = rig.end(2);
        connect(&a, &b);
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        write(&rig, &a, &from, &to, 10).await;
        assert_eq!(a.pair.failed().await, Cause::Overrun);
        assert!(a.completions.has_overrun());
        let (queue, found) = (&a.completions, rig.words());
        rig.run(drain, DrainArgs { queue, found }).await;
        assert_eq!(rig.read(found), [4, 0, 1, 0]);
        assert_eq!(queue.poll(), Err(HostReadError::Overrun));
        assert_eq!(b.pair.state(), QueuePairState::ReadyToSend);
    });
}

#[test]
fn rule_6_9_everybody_whose_completion_found_no_room_fails() {
    both(async |device| {
        let rig = Rig::new(&device);
        let shared = rig.completions(4);
        let sharing = |name| {
            let spec = QueuePairSpec {
                name,
                ..QueuePairSpec::default()
            };
            let receives = rig.nic.receive_queue(4).expect("a queue");
            rig.end_with(spec, receives, shared.clone())
        };
        let (first, second) = (sharing(1), sharing(2));
        let peers = (rig.end(3), rig.end(4));
        connect(&first, &peers.0);
        connect(&second, &peers.1);
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        write(&rig, &first, &from, &to, 10).await;
        assert_eq!(first.pair.failed().await, Cause::Overrun);
        write(&rig, &second, &from, &to, 1).await;
        assert_eq!(second.pair.failed().await, Cause::Overrun);
    });
}

#[test]
fn a_queue_that_overwrites_says_how_many_are_lost() {
    both(async |device| {
        let rig = Rig::new(&device);
        let completions = rig.queue(CompletionSpec {
            entries: 4,
            overrun: OverrunPolicy::Overwrite,
            ..CompletionSpec::default()
        });
        let receives = rig.nic.receive_queue(4).expect("a queue");
        let (a, b) = (
            rig.end_with(QueuePairSpec::default(), receives, completions),
            rig.end(2),
        );
        connect(&a, &b);
        let (queue, found) = (&a.completions, rig.words());
        let number = queue.number();
        rig.run(dummy, DummyArgs { number, times: 9 }).await;
        rig.run(drain, DrainArgs { queue, found }).await;
        assert_eq!(rig.read(found), [4, 5, 0, 0]);
        // Who reports to it goes on.
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        write(&rig, &a, &from, &to, 3).await;
        for index in 0..3 {
            assert_eq!(a.next().await.index, index);
        }
        assert_eq!(a.pair.state(), QueuePairState::ReadyToSend);
        // The host is told, too.
        rig.run(dummy, DummyArgs { number, times: 5 }).await;
        assert_eq!(queue.poll(), Err(HostReadError::Lost { count: 1 }));
        for _ in 0..4 {
            let entry = queue.poll().expect("no loss").expect("an entry");
            assert_eq!(entry.kind, CompletionKind::Dummy);
        }
        assert_eq!(queue.poll(), Ok(None));
    });
}

#[test]
fn several_tasks_of_the_host_wait_and_each_gets_one() {
    both(async |device| {
        let rig = Rig::new(&device);
        let queue = rig.completions(4);
        let number = queue.number();
        let posts = async {
            for _ in 0..3 {
                rig.run(dummy, DummyArgs { number, times: 1 }).await;
            }
        };
        // Each of them with a waker of its own.
        let waiting: FuturesUnordered<_> = (0..3).map(|_| queue.next()).collect();
        let (got, ()) = futures::join!(waiting.collect::<Vec<_>>(), posts);
        assert_eq!(got.iter().filter(|one| one.is_ok()).count(), 3);
    });
}
