//! The NIC's own thread: it attends when no worker looks.
//!
//! 1. While workers look, the socket is *disarmed*: packets wake nobody. The thread then only wakes every [`TICK`], to
//!    see whether somebody still looks.
//!    While workers have homes (`fairness.rs`) it is not known who looks at which NIC: what counts then is whether somebody has
//!    worked this one since the thread was awake last.
//! 2. When nobody has looked for a tick, or the last who did says that it stops, the socket is *armed*: the thread
//!    sleeps until a packet comes, a timer of the NIC is due, or it is told of an earlier timer.
//!
//!    A device behind verbs says only what comes after it was asked: the thread asks before it sleeps, and looks once more.
//!    Who arms and who disarms do so one behind the other: else the socket could be left as the first of them left it, and packets
//!    would wake nobody while the thread takes it for armed.
//! 3. What it finds it does itself, and looks on for a while, as a worker does before it parks; a kernel that an event
//!    opens is taken up by a worker, as after any update.
//! 4. A device tells nobody of what it writes for events (`words.rs`). While somebody waits for such an event and the socket
//!    is armed, the thread reads the words: for [`BUSY`] all the time, then after pauses from [`FIRST_PAUSE`] to
//!    [`LONGEST_PAUSE`]. Who begins to wait wakes it. With nobody waiting it does nothing.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::Timespec;

use super::DeviceNic;
use super::engine::Engine;
use crate::device::Device;

/// How often the thread looks whether somebody looks, in nanoseconds.
const TICK: u64 = 1_000_000;

/// How long words are read all the time, in nanoseconds.
const BUSY: u64 = 20_000;
/// The pauses after that.
const FIRST_PAUSE: u64 = 50_000;
const LONGEST_PAUSE: u64 = 1_000_000;

const SOCKET: u64 = 1;
const BELL: u64 = 2;
const EVENTS: u64 = 3;
/// Sleeps until a packet comes.
const FOREVER: u64 = u64::MAX;

/// What the thread sleeps on.
#[derive(Debug)]
pub(crate) struct Attendant {
    epoll: OwnedFd,
    bell: OwnedFd,
    /// What becomes readable when there is something to do: a socket, or a device's channel.
    socket: OwnedFd,
    /// What a device says that is no completion.
    events: Option<OwnedFd>,
    /// It must be asked before it says anything.
    must_ask: bool,
    /// Held by who arms or disarms.
    arming: Mutex<()>,
    armed: AtomicBool,
    /// Until when it sleeps, in device time; 0: it is awake.
    asleep_until: AtomicU64,
    /// It was called, and has not come yet.
    called: AtomicBool,
    stopped: AtomicBool,
}

impl Attendant {
    pub(crate) fn new(engine: &Engine) -> std::io::Result<Self> {
        let socket = engine
            .provider
            .wake_fd()
            .ok_or(std::io::ErrorKind::NotConnected)?;
        let socket = socket.try_clone_to_owned()?;
        let events = engine.provider.event_fd();
        Self::on(
            socket,
            events.map(|fd| fd.try_clone_to_owned()).transpose()?,
        )
    }

    fn on(socket: OwnedFd, events: Option<OwnedFd>) -> std::io::Result<Self> {
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
        if let Some(fd) = &events {
            let data = epoll::EventData::new_u64(EVENTS);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            bell,
            socket,
            must_ask: events.is_some(),
            events,
            arming: Mutex::new(()),
            armed: AtomicBool::new(false),
            asleep_until: AtomicU64::new(0),
            called: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// The device is gone: its files would say so for ever.
    fn forget_device(&self) {
        for file in self.events.iter().chain([&self.socket]) {
            // One that is not there any more is as well.
            let _ = epoll::delete(&self.epoll, file);
        }
    }

    fn watch(&self, flags: epoll::EventFlags) {
        let data = epoll::EventData::new_u64(SOCKET);
        // The socket was added, so this cannot fail for want of it; else the tick still comes.
        let _ = epoll::modify(&self.epoll, &self.socket, data, flags);
    }

    /// From now on packets wake the thread, once.
    pub(crate) fn arm(&self) {
        let done = self.switch(true, epoll::EventFlags::IN | epoll::EventFlags::ONESHOT);
        if done && self.must_ask {
            self.wake();
        }
    }

    /// From now on packets wake nobody.
    pub(crate) fn disarm(&self) {
        if self.switch(false, epoll::EventFlags::empty()) {
            // It may have meant to sleep for long.
            self.wake();
        }
    }

    /// Arms or disarms; false if it was so. Who does the opposite at the same time does it before or after, as a whole. Who arms
    /// and finds it armed just before another disarms it leaves it disarmed: then the tick sees that nobody looks.
    fn switch(&self, to: bool, flags: epoll::EventFlags) -> bool {
        if self.is_armed() == to {
            return false;
        }
        let _one_at_a_time = self.arming.lock();
        let changed = self.armed.swap(to, Ordering::SeqCst) != to;
        if changed {
            self.watch(flags);
        }
        changed
    }

    /// A timer of the NIC is due at this time: wakes the thread if it would sleep longer.
    pub(crate) fn sooner(&self, at: Duration) {
        if (at.as_nanos() as u64) < self.asleep_until.load(Ordering::SeqCst) {
            self.asleep_until.store(0, Ordering::SeqCst);
            self.wake();
        }
    }

    fn is_armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    /// Somebody begins to wait for an event whose word a device writes: wakes the thread if it would sleep for long.
    #[cfg(feature = "verbs")]
    pub(crate) fn begin_words(&self, now: u64) {
        self.sooner(Duration::from_nanos(now + FIRST_PAUSE));
    }

    /// Wakes the thread, which looks then.
    pub(crate) fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Wakes the thread, unless that is done and it has not come yet.
    pub(crate) fn call(&self) {
        if !self.called.swap(true, Ordering::SeqCst) {
            self.wake();
        }
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
        }; 3];
        let count = epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()).unwrap_or(0);
        let mut woken = if count == 0 { Woken::Time } else { Woken::Bell };
        for event in &events[..count] {
            match event.data.u64() {
                SOCKET => {
                    self.armed.store(false, Ordering::SeqCst);
                    woken = Woken::Packet;
                }
                EVENTS if woken != Woken::Packet => woken = Woken::Event,
                EVENTS => {}
                _ => {
                    let mut sink = [0; 8];
                    let _ = rustix::io::read(&self.bell, &mut sink);
                }
            }
        }
        self.asleep_until.store(0, Ordering::SeqCst);
        // Who calls from here on wakes it again.
        self.called.swap(false, Ordering::SeqCst);
        woken
    }
}

/// Why the thread is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Packet,
    Event,
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
    let mut pause = None;
    while !attendant.stopped.load(Ordering::SeqCst) {
        let woken = attendant.sleep(rest(nic, attendant, device, pause));
        let unattended = || nic.looks() == seen;
        let alone = match woken {
            Woken::Packet => !is_attended(nic, device, seen),
            // The words are enough.
            Woken::Time if pause.is_some() && attendant.is_armed() => false,
            Woken::Time => attendant.is_armed() || unattended(),
            Woken::Bell | Woken::Event => false,
        };
        if woken == Woken::Event {
            let is_there = nic.take_events();
            if !is_there {
                attendant.forget_device();
            }
        }
        // Who worked it has left it to this thread.
        let left = woken == Woken::Bell && nic.bell.is_rung();
        if matches!(woken, Woken::Packet | Woken::Event) || alone || left {
            look(nic, device);
        }
        if alone {
            attendant.arm();
        }
        pause = next_pause(nic, attendant, device, pause, woken);
        seen = nic.looks();
    }
}

/// Whether others attend to it: workers that look, or, while those have homes, whoever has worked it since it had been looked
/// at so often.
fn is_attended(nic: &DeviceNic, device: &Device, looks: u64) -> bool {
    match device.fairness.is_divided() {
        true => nic.looks() != looks,
        false => device.is_awake(),
    }
}

/// How long to sleep until words are read again; `None`: nobody waits for them here.
fn next_pause(
    nic: &DeviceNic,
    attendant: &Attendant,
    device: &Device,
    pause: Option<u64>,
    woken: Woken,
) -> Option<u64> {
    if !attendant.must_ask || !attendant.is_armed() || !nic.words_are_awaited() {
        return None;
    }
    match (pause, woken) {
        (Some(last), Woken::Time) if !nic.poll(device.clock.now()).worked => {
            Some((last * 2).min(LONGEST_PAUSE))
        }
        _ => {
            let until = device.clock.now() + BUSY;
            while device.clock.now() < until && nic.words_are_awaited() {
                nic.poll(device.clock.now());
                std::hint::spin_loop();
            }
            Some(FIRST_PAUSE)
        }
    }
}

/// Works the NIC, and as long as there is something to do looks again, for as long as a worker would: the next packet
/// is often near. It stops when others attend to it.
fn look(nic: &DeviceNic, device: &Device) {
    let spin = device.config.spin.as_nanos() as u64;
    let mut last = device.clock.now();
    loop {
        let (now, looks) = (device.clock.now(), nic.looks());
        if nic.poll(now).worked {
            last = now;
        }
        // Its own look counts, too.
        if now.saturating_sub(last) >= spin || is_attended(nic, device, looks.wrapping_add(1)) {
            return;
        }
        std::hint::spin_loop();
    }
}

/// How long the thread may sleep, in nanoseconds. It looks before it says that it sleeps: what it finds itself need not wake
/// it. What it decides by after that is published first, so that an earlier timer wakes it.
fn rest(nic: &DeviceNic, attendant: &Attendant, device: &Device, pause: Option<u64>) -> u64 {
    if !attendant.is_armed() {
        return TICK;
    }
    if attendant.must_ask && nic.ask_and_look(device.clock.now()) {
        return 0;
    }
    attendant.asleep_until.store(FOREVER, Ordering::SeqCst);
    let awaited = attendant.must_ask && nic.words_are_awaited();
    if awaited && pause.is_none() {
        attendant.asleep_until.store(0, Ordering::SeqCst);
        return 0;
    }
    let now = device.clock.now();
    let timer = nic.engine.lock().provider.poll_timeout();
    let timer = timer.map(|at| at.as_nanos() as u64);
    let words = pause.filter(|_| awaited).map(|pause| now + pause);
    let Some(next) = [timer, words].into_iter().flatten().min() else {
        return FOREVER;
    };
    attendant.asleep_until.store(next, Ordering::SeqCst);
    next.saturating_sub(now)
}

#[cfg(test)]
mod tests;
