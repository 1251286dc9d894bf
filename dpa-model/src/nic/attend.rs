//! The NIC's own thread: it attends when no worker looks.
//!
//! 1. While workers look, the socket is *disarmed*: packets wake nobody. The thread then only wakes every [`TICK`], to
//!    see whether somebody still looks.
//! 2. When nobody has looked for a tick, or the last who did says that it stops, the socket is *armed*: the thread
//!    sleeps until a packet comes, a timer of the NIC is due, or it is told of an earlier timer.
//! 3. What it finds it does itself, and looks on for a while, as a worker does before it parks; a kernel that an event
//!    opens is taken up by a worker, as after any update.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::Timespec;

use super::DeviceNic;
use super::engine::Engine;
use crate::device::Device;

/// How often the thread looks whether somebody looks, in nanoseconds.
const TICK: u64 = 1_000_000;

const SOCKET: u64 = 1;
const BELL: u64 = 2;
/// Sleeps until a packet comes.
const FOREVER: u64 = u64::MAX;

/// What the thread sleeps on.
#[derive(Debug)]
pub(crate) struct Attendant {
    epoll: OwnedFd,
    bell: OwnedFd,
    socket: OwnedFd,
    armed: AtomicBool,
    /// Until when it sleeps, in device time; 0: it is awake.
    asleep_until: AtomicU64,
    stopped: AtomicBool,
}

impl Attendant {
    pub(crate) fn new(engine: &Engine) -> std::io::Result<Self> {
        let socket = engine
            .soft
            .socket()
            .ok_or(std::io::ErrorKind::NotConnected)?;
        let socket = socket.as_fd().try_clone_to_owned()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(
            &epoll,
            &bell,
            epoll::EventData::new_u64(BELL),
            epoll::EventFlags::IN,
        )?;
        epoll::add(
            &epoll,
            &socket,
            epoll::EventData::new_u64(SOCKET),
            epoll::EventFlags::empty(),
        )?;
        Ok(Self {
            epoll,
            bell,
            socket,
            armed: AtomicBool::new(false),
            asleep_until: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    fn watch(&self, flags: epoll::EventFlags) {
        let data = epoll::EventData::new_u64(SOCKET);
        // The socket was added, so this cannot fail for want of it; else the tick still comes.
        let _ = epoll::modify(&self.epoll, &self.socket, data, flags);
    }

    /// From now on packets wake the thread, once.
    pub(crate) fn arm(&self) {
        if !self.armed.swap(true, Ordering::SeqCst) {
            self.watch(epoll::EventFlags::IN | epoll::EventFlags::ONESHOT);
        }
    }

    /// From now on packets wake nobody.
    pub(crate) fn disarm(&self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.watch(epoll::EventFlags::empty());
            // It may have meant to sleep for long.
            self.wake();
        }
    }

    /// A timer of the NIC is due at this time: wakes the thread if it would sleep longer.
    pub(crate) fn sooner(&self, at: Duration) {
        if (at.as_nanos() as u64) < self.asleep_until.load(Ordering::SeqCst) {
            self.asleep_until.store(0, Ordering::SeqCst);
            self.wake();
        }
    }

    fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// The thread is to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Sleeps until something happens, or for so many nanoseconds.
    fn sleep(&self, nanos: u64) -> Woken {
        let timeout = (nanos != FOREVER).then_some(Timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as i64,
        });
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 2];
        let count = epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()).unwrap_or(0);
        let mut woken = if count == 0 { Woken::Time } else { Woken::Bell };
        for event in &events[..count] {
            if event.data.u64() == SOCKET {
                self.armed.store(false, Ordering::SeqCst);
                woken = Woken::Packet;
            } else {
                let mut sink = [0; 8];
                let _ = rustix::io::read(&self.bell, &mut sink);
            }
        }
        self.asleep_until.store(0, Ordering::SeqCst);
        woken
    }
}

/// Why the thread is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Packet,
    Bell,
    Time,
}

/// Starts the thread. It ends when the NIC is closed.
pub(crate) fn start(nic: Arc<DeviceNic>, device: Arc<Device>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("dpa-nic".into())
        .spawn(move || attend(&nic, &device))
        .map(drop)
}

fn attend(nic: &DeviceNic, device: &Device) {
    let Some(attendant) = &nic.attendant else {
        return;
    };
    let mut seen = 0;
    while !attendant.stopped.load(Ordering::SeqCst) {
        let woken = attendant.sleep(rest(nic, attendant, device));
        let unattended = || nic.looks.load(Ordering::Relaxed) == seen;
        let alone = match woken {
            Woken::Packet => !device.someone_looks(),
            Woken::Time => attendant.armed.load(Ordering::SeqCst) || unattended(),
            Woken::Bell => false,
        };
        if woken == Woken::Packet || alone {
            look(nic, device);
        }
        if alone {
            attendant.arm();
        }
        seen = nic.looks.load(Ordering::Relaxed);
    }
}

/// Works the NIC, and as long as there is something to do looks again, for as long as a worker would: the next packet
/// is often near. It stops when a worker looks.
fn look(nic: &DeviceNic, device: &Device) {
    let spin = device.config.spin.as_nanos() as u64;
    let mut last = device.clock.now();
    loop {
        let now = device.clock.now();
        if nic.poll(now).worked {
            last = now;
        }
        if now.saturating_sub(last) >= spin || device.someone_looks() {
            return;
        }
        std::hint::spin_loop();
    }
}

/// How long the thread may sleep, in nanoseconds. What it decides by is published first, so that an earlier timer
/// wakes it.
fn rest(nic: &DeviceNic, attendant: &Attendant, device: &Device) -> u64 {
    if !attendant.armed.load(Ordering::SeqCst) {
        return TICK;
    }
    attendant.asleep_until.store(FOREVER, Ordering::SeqCst);
    let next = nic.engine.lock().soft.poll_timeout();
    let Some(next) = next.map(|at| at.as_nanos() as u64) else {
        return FOREVER;
    };
    attendant.asleep_until.store(next, Ordering::SeqCst);
    next.saturating_sub(device.clock.now())
}
