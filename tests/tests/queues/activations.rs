//! What a handler finds at each activation: its default outbox, whatever it configured before.

use dpa_abi::{IntoArgs, Kernel};
use flexio::queues::CompletionKind;
use tests::queues::{ConfiguresOnceArgs, configures_once};

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
