//! Who is woken by packets, while workers begin and stop to look at the same time.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;

use super::*;

/// An attendant of a socket from which there is something to read, all the time; the other end.
fn attendant() -> (Attendant, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.write_all(b"a packet").expect("room");
    let attendant = Attendant::on(ours.into(), None).expect("an epoll");
    (attendant, theirs)
}

/// Whether packets wake the thread. If they do, they have done so, once.
fn packets_wake(attendant: &Attendant) -> bool {
    // A wake-up beside it does not count.
    (0..2).any(|_| attendant.sleep(0) == Woken::Packet)
}

#[test]
fn packets_wake_once_while_it_is_armed() {
    let (attendant, _peer) = attendant();
    assert!(!packets_wake(&attendant), "it begins disarmed");
    attendant.arm();
    assert!(attendant.is_armed() && packets_wake(&attendant));
    assert!(!attendant.is_armed() && !packets_wake(&attendant));
    attendant.arm();
    attendant.disarm();
    assert!(!attendant.is_armed() && !packets_wake(&attendant));
}

#[test]
fn who_arms_and_who_disarms_leave_the_socket_as_they_say() {
    const TRIES: usize = 20_000;
    let (attendant, _peer) = attendant();
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut wrong = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=TRIES {
                while begun.load(Ordering::SeqCst) < number {
                    std::thread::yield_now();
                }
                attendant.disarm();
                done.store(number, Ordering::SeqCst);
            }
        });
        for number in 1..=TRIES {
            attendant.arm();
            begun.store(number, Ordering::SeqCst);
            // Until the other has begun to disarm.
            while attendant.is_armed() {
                std::thread::yield_now();
            }
            attendant.arm();
            while done.load(Ordering::SeqCst) < number {
                std::thread::yield_now();
            }
            let armed = attendant.is_armed();
            wrong += usize::from(packets_wake(&attendant) != armed);
        }
    });
    assert_eq!(wrong, 0, "of {TRIES}");
}
