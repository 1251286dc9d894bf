//! The sync events of one process, by handle.
//!
//! Slots are never freed while the process lives, so a handle can be looked up without a lock; a slot is used again,
//! under a new generation, once all launches that started before its event was closed are over.
//!
//! Whoever is no such launch may find an event, and use its slot when that is another event's. Rules:
//!
//! 1. A slot is retired by who takes its last user away, and not used again before. So an event stays what it is for as long as
//!    its slot has a user; who has one may add others.
//! 2. Who has none adds one only to those that there are, and looks at the generation then ([`Slot::try_hold`],
//!    [`Slot::try_use`]): the slot may have been another event's already when it was added to. If so, it takes it away again as
//!    any other user does, for it may be the last of that event by now.
//! 3. Who wants no user, but to register with the event, looks at the generation under the event's lock
//!    ([`sync_event::Event::register_if`]): an event is closed under it before its slot is retired, and opened again under it after
//!    that. So one that is open then, under the old generation, is the one that was found.
//! 4. A device behind verbs counts on from the value that an event has when it begins to write it, and what it comes to is
//!    stored over whatever the event has then. So an update by a thread of the host is begun only while no device does, and a
//!    device begins when those that were begun are made. Both see the other in one word.

use std::sync::OnceLock;

use dpa_abi::handle::Handle;
use dpa_abi::{EventHandle, Update};
use sync_event::sync::Mutex;
use sync_event::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync_event::sync::thread::yield_now;
use sync_event::{Event, Location, LocationSet, Locations, Reached};

use crate::epoch::{Epochs, Quarantine};
use crate::gate::Gate;

/// In `holds`: one user in the low half, one publisher in the high half.
const USER: u64 = 1;
const PUBLISHER: u64 = 1 << 32;

/// What became of an attempt to hold or use an event that may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Tried {
    /// It is held or used.
    Done,
    /// It is gone.
    Gone,
    /// It is gone, and its slot is another event's, which is held or used instead: the caller takes that back
    /// as any holder or user does.
    Another,
}

/// What is left when publishers let go of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGo {
    /// Other publishers.
    Others,
    /// Nobody who could update it.
    LastPublisher,
}

const PUBLISHES: u32 = 1;
const SUBSCRIBES: u32 = 2;
const HOST_PUBLISHES: u32 = 4;
const REMOTE_PUBLISHES: u32 = 8;
const HOST_SUBSCRIBES: u32 = 16;
/// A device behind verbs writes its value to a word of its own.
const FAR: u32 = 32;
/// Updates by threads of the host that are just being made: the bits from here to below [`NEAR`] count them.
const HOST: u32 = 1 << 6;
/// Exports on software NICs, which update the event itself: all bits from here on count them.
const NEAR: u32 = 1 << 14;

/// The bits of publishers.
const PUBLISHERS: [(u32, Location); 3] = [
    (HOST_PUBLISHES, Location::Host),
    (PUBLISHES, Location::Device),
    (REMOTE_PUBLISHES, Location::Remote),
];

/// The bits of subscribers.
const SUBSCRIBERS: [(u32, Location); 2] = [
    (HOST_SUBSCRIBES, Location::Host),
    (SUBSCRIBES, Location::Device),
];

/// What is known of an event besides its value: who holds it, and from where it is used.
#[derive(Debug)]
struct Account {
    generation: AtomicU32,
    sides: AtomicU32,
    holds: AtomicU64,
}

impl Account {
    fn new() -> Self {
        Self {
            generation: AtomicU32::new(0),
            sides: AtomicU32::new(0),
            holds: AtomicU64::new(0),
        }
    }
}

/// Events that were made together. Their accounts lie apart from them: who submits writes the account of an event whose value
/// a worker writes at the same time.
#[derive(Debug)]
struct Chunk {
    accounts: Box<[Account]>,
    events: Box<[Event<Gate>]>,
}

impl Chunk {
    fn new(count: usize) -> Self {
        Self {
            accounts: (0..count).map(|_| Account::new()).collect(),
            events: (0..count).map(|_| Event::new(0)).collect(),
        }
    }

    fn slot(&self, at: usize) -> Option<Slot<'_>> {
        Some(Slot {
            account: self.accounts.get(at)?,
            event: self.events.get(at)?,
        })
    }
}

/// One event of a process.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    account: &'a Account,
    /// The event.
    pub event: &'a Event<Gate>,
}

impl Slot<'_> {
    fn configure(&self, locations: Locations) {
        let bits = |table: &[(u32, Location)], places: LocationSet| {
            let of = table.iter().filter(|(_, place)| places.contains(*place));
            of.fold(0, |bits, (bit, _)| bits | bit)
        };
        let sides =
            bits(&PUBLISHERS, locations.publishers()) | bits(&SUBSCRIBERS, locations.subscribers());
        self.account.sides.store(sides, Ordering::Relaxed);
    }

    fn places(&self, table: &[(u32, Location)]) -> LocationSet {
        let of = table.iter().filter(|(bit, _)| self.side(*bit));
        of.map(|(_, place)| *place).collect()
    }

    /// Who publishes.
    pub(crate) fn publishers(&self) -> LocationSet {
        self.places(&PUBLISHERS)
    }

    /// Who subscribes.
    pub(crate) fn subscribers(&self) -> LocationSet {
        self.places(&SUBSCRIBERS)
    }

    fn side(&self, bit: u32) -> bool {
        self.account.sides.load(Ordering::Relaxed) & bit != 0
    }

    /// Whether the device may update it.
    #[inline]
    pub fn device_publishes(&self) -> bool {
        self.side(PUBLISHES)
    }

    /// Whether a device behind verbs writes its value to a word of its own, from where it must be carried here.
    #[inline]
    pub fn is_far(&self) -> bool {
        self.side(FAR)
    }

    /// From now on one does: the value that it starts from, which every update by the host includes that was begun before. `None` if
    /// one does already, or if a software NIC updates the event itself.
    #[cfg(any(feature = "verbs", dpa_loom))]
    pub fn begin_far(&self) -> Option<u64> {
        if !self.change_sides(|sides| (sides < NEAR && sides & FAR == 0).then_some(sides | FAR)) {
            return None;
        }
        // None is begun any more, and each is a few instructions.
        while self.account.sides.load(Ordering::Acquire) & (NEAR - HOST) != 0
            && cfg!(not(dpa_mutant = "events_far_before_the_host"))
        {
            yield_now();
        }
        Some(self.event.get())
    }

    /// Updates it by a thread of the host, unless a device behind verbs writes its value (rule 4): then `None`. What the update has
    /// reached is for the caller to finish.
    pub fn update_near(&self, update: Update) -> Option<Result<u64, Reached>> {
        let begin = |sides: u32| {
            let room = sides & (NEAR - HOST) != NEAR - HOST;
            (sides & FAR == 0 && room).then(|| sides + HOST)
        };
        while !self.change_sides(begin) {
            if self.is_far() {
                return None;
            }
            yield_now();
        }
        let result = self.event.try_update_fast(update);
        self.account.sides.fetch_sub(HOST, Ordering::Release);
        Some(result)
    }

    /// None does any more.
    #[cfg(feature = "verbs")]
    pub(crate) fn end_far(&self) {
        self.account.sides.fetch_and(!FAR, Ordering::Relaxed);
    }

    /// From now on one more software NIC updates it. False if a device behind verbs writes a word of its own.
    pub(crate) fn begin_near(&self) -> bool {
        self.change_sides(|sides| match sides & FAR {
            0 => sides.checked_add(NEAR),
            _ => None,
        })
    }

    /// One less does.
    pub(crate) fn end_near(&self) {
        self.account.sides.fetch_sub(NEAR, Ordering::Relaxed);
    }

    fn change_sides(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        let changed = self
            .account
            .sides
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, change);
        changed.is_ok()
    }

    /// Whether the device may wait for it.
    #[inline]
    pub fn device_subscribes(&self) -> bool {
        self.side(SUBSCRIBES)
    }

    /// Whether the host or a remote node may update it.
    pub fn others_publish(&self) -> bool {
        self.side(HOST_PUBLISHES | REMOTE_PUBLISHES)
    }

    /// Whether it is still the event of this handle.
    #[inline]
    pub fn is(&self, handle: EventHandle) -> bool {
        self.account.generation.load(Ordering::Acquire) == handle.0.generation
    }

    /// As [`Slot::hold`], by who has no user in the event of this handle (rule 2). One that nobody is left to update is gone.
    #[inline]
    pub fn try_hold(&self, handle: EventHandle) -> Tried {
        self.try_add(PUBLISHER | USER, u64::MAX << 32, handle)
    }

    /// As [`Slot::use_`], by who has no user in the event of this handle (rule 2).
    #[inline]
    pub fn try_use(&self, handle: EventHandle) -> Tried {
        self.try_add(USER, PUBLISHER - 1, handle)
    }

    /// Adds to those that `among` counts, if there are any.
    #[inline]
    fn try_add(&self, more: u64, among: u64, handle: EventHandle) -> Tried {
        let mut holds = self.account.holds.load(Ordering::Relaxed);
        loop {
            if holds & among == 0 && cfg!(not(dpa_mutant = "events_add_to_nobody")) {
                return Tried::Gone;
            }
            // What came before the slot was used again is seen where its new holders are.
            match self.account.holds.compare_exchange_weak(
                holds,
                holds + more,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => holds = now,
            }
        }
        match self.is(handle) || cfg!(dpa_mutant = "events_trust_the_slot") {
            true => Tried::Done,
            false => Tried::Another,
        }
    }

    /// One more that may update it: a host handle, an unfinished launch, an export. A publisher is a user too. The caller is one, or
    /// knows of one (rule 1).
    pub fn hold(&self) {
        self.account
            .holds
            .fetch_add(PUBLISHER | USER, Ordering::Relaxed);
    }

    /// One more that looks at it, as a wait of the host does. The caller is one, or knows of one (rule 1).
    pub fn use_(&self) {
        self.account.holds.fetch_add(USER, Ordering::Relaxed);
    }

    /// So many publishers less. `LastPublisher`: they were the last; the caller closes the event and then calls
    /// [`Slot::unuse`] for them, so that the slot is not used again before it is closed.
    #[must_use]
    pub fn let_go(&self, count: u32) -> LetGo {
        let count = u64::from(count);
        let mut holds = self.account.holds.load(Ordering::Relaxed);
        loop {
            let last = holds / PUBLISHER == count;
            let less = if last {
                count * PUBLISHER
            } else {
                count * (PUBLISHER | USER)
            };
            match self.account.holds.compare_exchange_weak(
                holds,
                holds - less,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if last => return LetGo::LastPublisher,
                Ok(_) => return LetGo::Others,
                Err(now) => holds = now,
            }
        }
    }

    /// So many users less; true for the last, who then retires the slot.
    #[must_use]
    pub fn unuse(&self, count: u32) -> bool {
        let count = u64::from(count);
        self.account.holds.fetch_sub(count * USER, Ordering::AcqRel) % PUBLISHER == count
    }
}

// A model has few events.
const FIRST_CHUNK: usize = if cfg!(dpa_loom) { 1 } else { 64 };
const CHUNKS: usize = 20;

/// The events of a process.
#[derive(Debug)]
pub struct Events {
    chunks: [OnceLock<Chunk>; CHUNKS],
    free: Mutex<Free>,
    limit: u32,
}

#[derive(Debug)]
struct Free {
    fresh: u32,
    live: u32,
    quarantine: Quarantine<u32>,
    reusable: Vec<u32>,
}

fn place(index: u32) -> (usize, usize) {
    let n = index as usize / FIRST_CHUNK + 1;
    let chunk = n.ilog2() as usize;
    (chunk, index as usize - FIRST_CHUNK * ((1 << chunk) - 1))
}

impl Events {
    /// At most `limit` events at a time.
    pub fn new(limit: usize) -> Self {
        let free = Free {
            fresh: 0,
            live: 0,
            quarantine: Quarantine::default(),
            reusable: Vec::new(),
        };
        let most = FIRST_CHUNK * ((1 << CHUNKS) - 1);
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: Mutex::new(free),
            limit: limit.min(most) as u32,
        }
    }

    /// A new event, held once. `None` if there are as many as there may be.
    pub fn create(
        &self,
        epochs: &Epochs,
        initial: u64,
        locations: Locations,
    ) -> Option<EventHandle> {
        let index = self.free.lock().take(epochs, self.limit)?;
        let slot = self.slot_or_make(index);
        slot.event.reopen(initial);
        slot.configure(locations);
        // Whoever finds them sees that the slot was retired (rule 2).
        slot.account
            .holds
            .store(PUBLISHER | USER, Ordering::Release);
        let generation = slot.account.generation.fetch_add(1, Ordering::AcqRel) + 1;
        Some(EventHandle(Handle { index, generation }))
    }

    /// Gives the slot of a closed event back.
    pub fn retire(&self, epochs: &Epochs, index: u32) {
        let slot = self.slot(index);
        // Odd generations are live, even ones are not.
        slot.account.generation.fetch_add(1, Ordering::AcqRel);
        let mut free = self.free.lock();
        free.live -= 1;
        free.quarantine.put(epochs, index);
    }

    /// The slot of this index, which must have been created.
    #[inline]
    pub fn slot(&self, index: u32) -> Slot<'_> {
        let (chunk, at) = place(index);
        let slot = self.chunks[chunk].get().and_then(|chunk| chunk.slot(at));
        slot.expect("an index of a slot that was created")
    }

    /// The handle of an event that the caller holds or uses.
    pub fn handle(&self, index: u32) -> EventHandle {
        let generation = self.slot(index).account.generation.load(Ordering::Relaxed);
        EventHandle(Handle { index, generation })
    }

    /// The event of this index, which must have been created.
    #[inline]
    pub fn event(&self, index: u32) -> &Event<Gate> {
        let (chunk, at) = place(index);
        let chunk = self.chunks[chunk].get();
        &chunk.expect("an index of a slot that was created").events[at]
    }

    fn slot_or_make(&self, index: u32) -> Slot<'_> {
        let (chunk, _) = place(index);
        self.chunks[chunk].get_or_init(|| Chunk::new(FIRST_CHUNK << chunk));
        self.slot(index)
    }

    /// The event of a handle that may lie.
    #[inline]
    pub fn find(&self, handle: EventHandle) -> Option<Slot<'_>> {
        let (chunk, at) = place(handle.0.index);
        let slot = self.chunks.get(chunk)?.get()?.slot(at)?;
        let generation = slot.account.generation.load(Ordering::Acquire);
        (generation == handle.0.generation && generation & 1 == 1).then_some(slot)
    }

    /// All live events.
    pub fn each(&self, mut f: impl FnMut(u32, Slot<'_>)) {
        let fresh = self.free.lock().fresh;
        for index in 0..fresh {
            let slot = self.slot_or_make(index);
            if slot.account.generation.load(Ordering::Acquire) & 1 == 1 {
                f(index, slot);
            }
        }
    }

    /// Live events.
    pub fn live(&self) -> usize {
        self.free.lock().live as usize
    }
}

impl Free {
    fn take(&mut self, epochs: &Epochs, limit: u32) -> Option<u32> {
        let Self {
            reusable,
            quarantine,
            ..
        } = self;
        quarantine.take(epochs, |index| reusable.push(index));
        let index = match self.reusable.pop() {
            Some(index) => index,
            None if self.fresh < limit => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        self.live += 1;
        Some(index)
    }
}
