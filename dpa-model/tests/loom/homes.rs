//! Workers with homes: who looks may look for something else, so whoever publishes work wakes one that may take it.

use super::*;

/// A worker that found nothing parks; someone makes work available and notifies.
pub(super) fn park_until_work(device: &Device) -> u64 {
    let mut looking = device.idle.start_looking();
    loop {
        let (work, wake_up) = (|| device.started(), || device.woken.park());
        if let Some(found) = device.idle.park_unless(0, looking, work, wake_up) {
            if found.was_woken {
                device.idle.stop_looking();
            }
            return found.work;
        }
        device.woken.park();
        looking = true;
    }
}

/// As `Device::notify` does while workers have homes.
fn notify_homes(device: &Device) {
    let wants = |_| !device.sched.looks_empty();
    for _ in device.idle.notify_each(1, |_| (), wants) {
        device.woken.unpark();
    }
}

/// The same while a worker of another home looks, which takes nothing of it.
#[test]
fn park_vs_wake_beside_a_looker() {
    check(|| {
        let device = Device::new();
        device.idle.mark_looking();
        let worker = thread::spawn({
            let device = device.clone();
            move || park_until_work(&device)
        });
        let launch = launch(7, 1);
        assert!(launch.open());
        device.sched.push(launch);
        notify_homes(&device);
        assert_eq!(worker.join().expect("no panic"), 7);
    });
}

/// A busy worker takes in two launches, starts one, and says what it has left behind: the host, which sees nothing waiting any
/// more, does not wake the parked one.
#[test]
fn park_vs_one_that_leaves_something_behind() {
    check(|| {
        let device = Device::new();
        device.idle.mark_looking();
        let parked = thread::spawn({
            let device = device.clone();
            move || park_until_work(&device)
        });
        let busy = thread::spawn({
            let device = device.clone();
            move || {
                let taken = device.started();
                if taken.is_some() && !device.sched.looks_empty() {
                    notify_homes(&device);
                }
                taken
            }
        });
        for seq in 0..2 {
            let launch = launch(seq, 1);
            assert!(launch.open());
            device.sched.push(launch);
            notify_homes(&device);
        }
        let parked = parked.join().expect("no panic");
        let busy = busy.join().expect("no panic");
        assert_ne!(Some(parked), busy);
    });
}
