//! Outboxes: the default one is back at each activation of a handler, and one of another process is none.

use dpa_abi::{IntoArgs, Kernel};
use flexio::queues::{CompletionKind, OutboxError};
use tests::queues::{ConfiguresOnceArgs, ThroughOutboxArgs, configures_once, through_outbox};

use super::rig::{Rig, both};

#[test]
fn the_default_outbox_is_back_at_every_activation() {
    both(async |device| {
        let rig = Rig::new(&device);
        let outbox = rig.process.outbox().expect("an outbox");
        let (queue, answers) = (rig.completions(4), rig.words());
        let args = ConfiguresOnceArgs {
            outbox: outbox.handle(),
            number: queue.number(),
            answers,
        };
        let (wire, kept) = args.into_args();
        let handler = rig.process.event_handler(configures_once.entry(), wire);
        let handler = handler.keep(Some(Box::new(kept)));
        let handler = handler.create().expect("a handler");
        handler.run().expect("new");
        handler.trigger();
        assert_eq!(queue.next().await.expect("one").kind, CompletionKind::Dummy);
        rig.idle().await;
        // Through the one that was configured, nothing would ring any more.
        drop(outbox);
        handler.trigger();
        assert_eq!(queue.next().await.expect("one").kind, CompletionKind::Dummy);
        rig.idle().await;
        assert_eq!(rig.read(answers), [0, 0, 0, 2]);
    });
}

#[test]
fn outboxes_and_their_pages_are_limited() {
    both(async |device| {
        let rig = Rig::new(&device);
        let full = |refused: Result<_, OutboxError>| match refused {
            Err(OutboxError::Quota(full)) => (full.what, full.limit),
            other => panic!("one too many: {other:?}"),
        };
        let mut pages: Vec<_> = (0..1 << 12)
            .map(|_| rig.process.uar().expect("a page"))
            .collect();
        assert_eq!(full(rig.process.outbox()), ("doorbell pages", 1 << 12));
        let page = pages.pop().expect("one of them");
        pages.clear();
        let outbox = |_| page.outbox().expect("an outbox");
        let mut outboxes: Vec<_> = (0..1 << 15).map(outbox).collect();
        assert_eq!(full(page.outbox()), ("outboxes", 1 << 15));
        // Another process has its own.
        rig.beside().process.outbox().expect("an outbox");
        outboxes.pop();
        page.outbox().expect("room for one");
    });
}

#[test]
fn an_outbox_of_another_process_is_none() {
    both(async |device| {
        let victim = Rig::new(&device);
        let attacker = victim.beside();
        let outbox = victim.process.outbox().expect("an outbox");
        let (queue, answers) = (attacker.completions(4), attacker.words());
        let args = ConfiguresOnceArgs {
            outbox: outbox.handle(),
            number: queue.number(),
            answers,
        };
        attacker.run(configures_once, args).await;
        // Refused, and its own doorbells go on through its own.
        assert_eq!(attacker.read(answers), [1, 0, 0, 1]);
        assert_eq!(queue.next().await.expect("one").kind, CompletionKind::Dummy);
    });
}

#[test]
fn doorbells_go_through_outboxes_of_the_process() {
    both(async |device| {
        let rig = Rig::new(&device);
        let other = rig.beside();
        let outbox = rig.process.outbox().expect("an outbox");
        let shared = outbox.uar().outbox().expect("another of that page");
        assert_eq!(outbox.uar().number(), shared.uar().number());
        assert_ne!(outbox.handle(), shared.handle());
        let foreign = other.process.uar().expect("a page");
        assert_ne!(outbox.uar().number(), foreign.number());
        let queue = rig.completions(4);
        let (event, answers) = (rig.event(), rig.words());
        let args = ThroughOutboxArgs {
            outbox: outbox.handle(),
            number: queue.number(),
            step: event.handle(),
            answers,
        };
        let closes = async {
            let at_work = event.wait(dpa_abi::Condition::ge(1));
            at_work.expect("the host waits").await.expect("open");
            drop(outbox);
            event.update(dpa_abi::Update::Add(1)).expect("the host's");
        };
        futures::join!(rig.run(through_outbox, args), closes);
        assert_eq!(rig.read(answers), [0, 0, 1, 1]);
        assert_eq!(queue.next().await.expect("one").kind, CompletionKind::Dummy);
        assert_eq!(queue.poll(), Ok(None));
    });
}
