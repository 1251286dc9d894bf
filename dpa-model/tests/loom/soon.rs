//! A worker that has given its word to look soon: nothing is left to it that it does not take or pass on.

use dpa_abi::sync::publish;
use dpa_model::idle::Soon;

use super::homes::park_until_work;
use super::*;

fn notify(device: &Device, soon: &Soon) {
    if device.idle.notify(|| soon.is_said()).is_some() {
        device.woken.unpark();
    }
}

/// What a worker does that ends something: it takes what there is, or begins to look.
fn end_and_look(device: &Device, soon: &Soon) -> Option<u64> {
    soon.say();
    let more = || !device.sched.looks_empty();
    let taken = device.started();
    if taken.is_some() {
        if soon.take_back(more) {
            notify(device, soon);
        }
        return taken;
    }
    device.idle.mark_looking();
    soon.take_back(|| false);
    let taken = device.started();
    // What is sequentially consistent there loom takes for less.
    if publish(|| device.idle.stop_looking()) && more() {
        notify(device, soon);
    }
    taken
}

/// Two launches are published; one worker is parked, another has ended something. It takes one at most, so that the other is to be
/// woken for what it leaves.
#[test]
fn a_word_to_look_soon_vs_two_launches() {
    check(|| {
        let (device, soon) = (Device::new(), Arc::new(Soon::default()));
        let parked = thread::spawn({
            let device = device.clone();
            move || park_until_work(&device)
        });
        let busy = thread::spawn({
            let (device, soon) = (device.clone(), soon.clone());
            move || end_and_look(&device, &soon)
        });
        for seq in 0..2 {
            let launch = launch(seq, 1);
            assert!(launch.open());
            device.sched.push(launch);
            notify(&device, &soon);
        }
        let parked = parked.join().expect("no panic");
        assert_ne!(Some(parked), busy.join().expect("no panic"));
    });
}
