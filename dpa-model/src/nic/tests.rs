//! Who works a NIC, and for how long.

use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use dpa_abi::Condition;

use super::after::After;
use super::working::{MOST_LOOKS, Rung, Task};
use super::*;
use crate::rig::Still;

mod handlers;
mod queues;

/// One on a network, whose thread does not run.
fn nic() -> Arc<DeviceNic> {
    let options = Options {
        port: 0,
        ..Options::default()
    };
    let address = IpAddr::from([127, 0, 0, 1]);
    let nic = DeviceNic::open(Asked::Soft, address, &options, 1).expect("a free port");
    let nic = Arc::new(nic);
    nic.engine.lock().world.nic = Arc::downgrade(&nic);
    nic
}

/// As if another rang whenever somebody has looked.
fn rings_again(engine: &mut Engine, _: Duration) -> bool {
    let nic = engine.world.nic.upgrade().expect("it is at work");
    nic.remember(Qpn::new(7).expect("a number"));
    assert!(!nic.bell.ring(), "somebody works");
    true
}

#[test]
fn who_rings_is_not_kept_by_others_that_ring_without_end() {
    let nic = nic();
    assert!(nic.bell.ring());
    let _ = nic.work(0, Task::All, rings_again, &|| false);
    assert!(nic.bell.is_rung(), "its thread is to look");
    // The next who looks finds it.
    let looked = nic.poll(0);
    assert!(looked.worked);
    assert!(!nic.bell.is_rung());
    assert!(nic.rung.is_empty());
}

/// A task that runs where it is woken, and goes on only when the NIC is worked: how often that was.
struct RunsInPlace(Arc<DeviceNic>, AtomicU64);

impl Wake for RunsInPlace {
    fn wake(self: Arc<Self>) {
        let before = self.0.looks();
        let _ = self.0.poll(0);
        let looks = self.0.looks() - before;
        self.1.fetch_add(looks, Ordering::Relaxed);
    }
}

/// What is left to be done of work that this task waits for, of a change of an event, and of the event's end.
fn left_for(process: &Still, task: &Waker) -> [(After, impl Sized + use<>); 3] {
    let cx = &mut Context::from_waker(task);
    let pending = Pending::new(Box::new(()));
    assert!(pending.poll(cx).is_pending());
    let waiting = [(); 2].map(|()| {
        let event = process.event();
        let mut wait = Box::pin(event.wait(Condition::ge(1)).expect("the host waits for it"));
        assert!(wait.as_mut().poll(cx).is_pending());
        (event, wait)
    });
    let [changed, ended] = waiting;
    let reached = changed
        .0
        .slot()
        .event
        .try_update_fast(dpa_abi::Update::Add(1));
    let event = changed.0.use_();
    let open = After::Open {
        event,
        reached: reached.expect_err("the task waits for it"),
    };
    let close = After::Close(ended.0.use_());
    [
        (After::Ended(pending, Ended::Gone), None),
        (open, Some(changed)),
        (close, Some(ended)),
    ]
}

#[test]
fn a_task_that_is_woken_keeps_nobody_from_the_nic() {
    let (process, nic) = (Still::new(), nic());
    let ways: [fn(&mut Engine, Duration) -> bool; 2] = [Engine::progress, rings_again];
    for progress in ways {
        let task = Arc::new(RunsInPlace(nic.clone(), AtomicU64::new(0)));
        let left = left_for(&process, &task.clone().into());
        for (times, (after, _kept)) in (1..).zip(left) {
            nic.engine.lock().world.later(after);
            let _ = nic.bell.ring();
            let _ = nic.work(0, Task::All, progress, &|| false);
            assert_eq!(task.1.load(Ordering::Relaxed), times);
        }
    }
}

/// As a worker that has got something to run, or a thread of the host that has posted its own.
#[test]
fn who_has_enough_else_to_do_leaves_what_others_ring_for() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let looks_twice = || LOOKS.load(Ordering::Relaxed) == 2;
    let nic = nic();
    assert!(nic.bell.ring());
    let progress = |engine: &mut Engine, now| {
        LOOKS.fetch_add(1, Ordering::Relaxed);
        rings_again(engine, now)
    };
    let _ = nic.work(0, Task::All, progress, &looks_twice);
    assert!(looks_twice() && nic.bell.is_rung());
}

#[test]
fn who_rings_next_works_what_was_left() {
    let nic = nic();
    assert!(nic.bell.ring());
    let _ = nic.work(0, Task::All, rings_again, &|| false);
    assert!(!nic.ring(0, Qpn::new(8).expect("a number")));
    assert!(!nic.bell.is_rung() && nic.rung.is_empty());
}

/// How often [`rings_on`] has rung.
static RUNG: AtomicUsize = AtomicUsize::new(0);

/// As [`rings_again`], often: only who is relieved has not seen all of it.
fn rings_on(engine: &mut Engine, now: Duration) -> bool {
    let times = RUNG.fetch_add(1, Ordering::Relaxed);
    times < 100 * MOST_LOOKS && rings_again(engine, now)
}

/// Waits for what happens soon.
fn soon(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !happens() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_rings_is_relieved_where_there_is_no_network_too() {
    let process = Still::new();
    let lease = process.local_nic().expect("a NIC");
    let nic = lease.nic();
    assert!(nic.bell.ring());
    let _ = nic.work(0, Task::All, rings_on, &|| false);
    let rung = RUNG.load(Ordering::Relaxed);
    assert_eq!(rung, MOST_LOOKS, "others rang on");
    let looked = || !nic.bell.is_rung() && nic.rung.is_empty();
    soon("its thread looks", looked);
}

/// A host that works on the NIC leaves queues that have had their turn to others.
#[test]
fn what_is_left_behind_is_looked_at() {
    let process = Still::new();
    let lease = process.local_nic().expect("a NIC");
    let nic = lease.nic();
    let number = Qpn::new(7).expect("a number");
    nic.with(|engine| {
        let turn = &mut engine.world.turn;
        turn.leave(0);
        assert!(turn.is_over(number));
    });
    let behind = || nic.engine.lock().world.turn.has_next();
    soon("its turn comes", || !behind());
}

/// Two functions with units of their own, and a process on each.
fn two_functions() -> [Still; 2] {
    let names = ["pf0", "vf0"];
    Still::on_functions(names)
}

#[test]
fn each_partition_has_a_nic_without_a_network_of_its_own() {
    let [first, second] = two_functions();
    let leases = [&first, &second].map(|process| process.local_nic().expect("a NIC"));
    let [one, other] = leases.each_ref().map(|lease| lease.nic());
    assert!(!Arc::ptr_eq(one, other));
    assert!(one.is_shared_by(0) && !one.is_shared_by(1));
    assert!(other.is_shared_by(1) && !other.is_shared_by(0));
    let again = first.local_nic().expect("a NIC");
    assert!(Arc::ptr_eq(again.nic(), one), "for all of the partition");
}

#[test]
fn a_process_that_stops_waits_for_no_nic_of_another() {
    let [first, second] = two_functions();
    let lease = first.local_nic().expect("a NIC");
    let worked = lease.nic().engine.lock();
    let stopping = std::thread::spawn(move || drop(second));
    soon("it stops", || stopping.is_finished());
    drop(worked);
    stopping.join().expect("it stops");
}

/// Also where another process has registered something of it.
#[test]
fn a_process_that_stops_takes_back_what_it_has_anywhere() {
    let [first, second] = two_functions();
    let lease = first.local_nic().expect("a NIC");
    let event = second.event();
    let registered = Registration::of_event(&lease, &event, None).expect("registered");
    let exported = registered.export_event();
    let range = rdma::region::Range {
        address: exported.address,
        len: 8,
    };
    let reachable = || {
        let key = exported.key;
        let intent = rdma::region::Intent::Atomic;
        let who = context::domain(&second);
        lease.nic().regions.remote(who, key, range, intent).is_ok()
    };
    assert!(reachable());
    second.shut_down();
    assert!(!reachable());
    drop((registered, event));
    drop(first);
}

/// Not only when its registrations are gone, too: they may be held for long.
#[test]
fn rule_7_a_nic_keeps_no_heap_of_a_process_that_has_ended() {
    let process = Still::new();
    let other = process.device.process().expect("another");
    let lease = process.local_nic().expect("a NIC");
    let in_use = other.local_nic().expect("the same");
    assert!(Arc::ptr_eq(lease.nic(), in_use.nic()));
    let spaces = || in_use.nic().engine.lock().world.memory.spaces.len();
    let at = process.alloc(64, true).expect("memory");
    let rights = rdma::region::Rights::empty();
    let held = Registration::of_heap(&lease, &process, at, 64, rights).expect("a region");
    assert_eq!(spaces(), 1);
    process.shut_down();
    assert_eq!(spaces(), 0);
    drop((held, lease, in_use));
    other.shut_down();
}

#[test]
fn nics_of_a_process_are_limited() {
    let process = Still::new();
    let local = process.local_nic().expect("a NIC");
    let nics: Vec<_> = (1..leased::MAX_NICS).map(|_| nic()).collect();
    let held: Vec<_> = nics.iter().map(|nic| process.leased.begin(nic)).collect();
    let address = IpAddr::from([127, 0, 0, 1]);
    let refused = process.nic(address, 0, &Asked::Soft);
    let said = refused.expect_err("one too many").to_string();
    assert_eq!(said, "the context has 64 NICs, as many as it may have");
    let again = process.local_nic().expect("it has that one");
    drop((local, again));
    let refused = process.nic(address, 0, &Asked::Soft);
    let taken = refused.expect("room for one");
    assert_eq!(process.leased.all().len(), leased::MAX_NICS);
    assert!(process.local_nic().is_err());
    drop((taken, held));
    assert!(process.leased.all().is_empty());
}
