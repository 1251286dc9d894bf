//! Events that stand in memory: eight bytes of a host buffer or of a heap that show an event's value.
//!
//! The counter itself stays where all counters are, beside the lowest value that anyone waits for, out of reach of plain
//! stores. A gate follows it: whenever the value changes it is stored at the place, by whoever changed it, before the
//! update returns. The other way round, whoever writes the place through the library (copies of the host, peers and the
//! NIC) updates the event. A kernel's plain store there is overwritten by the next update.
//!
//! A device behind verbs writes memory by itself. While a region that peers may write covers the place of an event that they
//! publish, the place is the word that only that device writes (`nic/words.rs`), and nothing is shown there.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use dpa_abi::access::{AtomicNumber, Cell};
use dpa_abi::pod::Store;
use dpa_abi::{Condition, Update};
use parking_lot::Mutex;
use smallvec::SmallVec;
use sync_event::{Location, Locations, Registered};

use crate::event::{EventUse, InnerUse};
use crate::foreign;
use crate::gate::Gate;
use crate::nic::HostMemory;
use crate::process::Process;

/// Bytes of a place.
pub(crate) const BYTES: u64 = 8;

/// Eight aligned bytes.
#[derive(Clone, Debug)]
pub enum EventPlace {
    /// Of a host buffer, so many bytes into it.
    Host(Arc<HostMemory>, u64),
    /// Of the process's heap, at this device address.
    Heap(u64),
}

impl EventPlace {
    pub(crate) fn offset(&self) -> u64 {
        match *self {
            Self::Host(_, offset) | Self::Heap(offset) => offset,
        }
    }

    /// The place in its memory; `None` if it is not there.
    fn cell(&self, process: &Process) -> Option<Cell> {
        match self {
            Self::Host(memory, offset) => memory.cell(*offset, BYTES as usize),
            Self::Heap(addr) => process.heap.checked(*addr, BYTES).ok(),
        }
    }

    fn places<'a>(&'a self, process: &'a Process) -> &'a Places {
        match self {
            Self::Host(memory, _) => memory.places(),
            Self::Heap(_) => &process.places,
        }
    }

    fn is_aligned(&self) -> bool {
        self.offset().is_multiple_of(BYTES)
    }
}

/// What keeps a place's memory allocated.
pub type Keep = Box<dyn Any + Send + Sync>;

/// An event that stands in memory.
pub struct Placed {
    place: EventPlace,
    /// Its slot is no other event's before this is gone: who has found it updates no other.
    event: InnerUse,
    locations: Locations,
    /// A device behind verbs writes the place. Locked while something is shown there, so that this is not shown over what that
    /// has written.
    by_device: Mutex<bool>,
    /// Let go of when the event is closed.
    _keep: Option<Keep>,
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} at {:?}", self.event.index(), self.place)
    }
}

/// Why an event cannot stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    NotThere,
    Taken,
    /// Peers can write there already, by a device behind verbs.
    Registered,
}

impl Placed {
    /// Lets an event that was just made stand at a place.
    pub(crate) fn begin(
        process: &Arc<Process>,
        index: u32,
        locations: Locations,
        place: EventPlace,
        keep: Option<Keep>,
    ) -> Result<(), Misplaced> {
        if !place.is_aligned() || place.cell(process).is_none() {
            return Err(Misplaced::NotThere);
        }
        let placed = Arc::new(Self {
            place,
            event: InnerUse::begin(process, index),
            locations,
            by_device: Mutex::new(false),
            _keep: keep,
        });
        let entry = Entry {
            offset: placed.place.offset(),
            process: Arc::downgrade(process),
            placed: Arc::downgrade(&placed),
        };
        let by_peers = locations.publishers().contains(Location::Remote);
        placed.place.places(process).enter(entry, by_peers)?;
        placed.follow(process);
        Ok(())
    }

    /// Stores the value of now, and waits for the next. If there will be none, the place is memory like any other.
    pub(crate) fn follow(self: Arc<Self>, process: &Process) {
        let event = process.events.event(self.event.index());
        loop {
            let value = event.get();
            self.show(process, || value);
            let gate = |_| Gate::Place(self.clone());
            match event.register(Condition::ne(value), gate) {
                Registered::Holds(..) => {}
                Registered::Waiting(_) => return,
                Registered::Closed(gate, _) => {
                    self.end(process);
                    return foreign::let_go("an event in memory", || drop((gate, self)));
                }
            }
        }
    }

    /// Shows the value that the event has then.
    fn show(&self, process: &Process, value: impl FnOnce() -> u64) {
        let by_device = self.by_device.lock();
        if !*by_device {
            self.put(process, value());
        }
    }

    fn put(&self, process: &Process, value: u64) {
        if let Some(mut cell) = self.place.cell(process) {
            cell.put_u64(0, value);
            if let EventPlace::Heap(addr) = self.place {
                process.heap.wrote(addr, BYTES);
            }
        }
    }

    fn is_written_by_device(&self) -> bool {
        *self.by_device.lock()
    }

    /// From now on a device behind verbs writes the place, which says `value` now; or none does any more.
    #[cfg(feature = "verbs")]
    pub(crate) fn give_to_device(&self, process: &Process, value: u64) {
        let mut by_device = self.by_device.lock();
        self.put(process, value);
        *by_device = true;
    }

    /// None does any more.
    #[cfg(feature = "verbs")]
    pub(crate) fn take_from_device(&self) {
        *self.by_device.lock() = false;
    }

    /// What stands at the place.
    pub(crate) fn read(&self, process: &Process) -> Option<u64> {
        let cell = self.place.cell(process)?;
        Some(u64::load_acquire(&cell, 0))
    }

    /// Where it stands.
    #[cfg(feature = "verbs")]
    pub(crate) fn place(&self) -> &EventPlace {
        &self.place
    }

    /// Who may publish and who may wait.
    #[cfg(feature = "verbs")]
    pub(crate) fn locations(&self) -> Locations {
        self.locations
    }

    /// The event is closed: its place is memory like any other.
    pub(crate) fn end(&self, process: &Process) {
        self.place.places(process).leave(self.place.offset());
    }
}

/// An event at some place of a memory.
#[derive(Clone, Debug)]
struct Entry {
    offset: u64,
    process: Weak<Process>,
    placed: Weak<Placed>,
}

/// The events that stand in one memory.
#[derive(Debug, Default)]
pub(crate) struct Places {
    inner: OnceLock<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By offset.
    entries: BTreeMap<u64, Entry>,
    /// What peers can write by devices behind verbs: first bytes and lengths.
    registered: Vec<(u64, u64)>,
}

/// An event whose place was written.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) process: Arc<Process>,
    placed: Arc<Placed>,
}

impl Touched {
    /// The event.
    pub(crate) fn index(&self) -> u32 {
        self.placed.event.index()
    }

    /// One more user of the event.
    pub(crate) fn event(&self) -> EventUse {
        self.process.another_use(self.index())
    }

    /// How it stands there.
    #[cfg(feature = "verbs")]
    pub(crate) fn placed(&self) -> &Arc<Placed> {
        &self.placed
    }

    /// Whether who wrote there may update it. Otherwise its value is shown again.
    pub(crate) fn admits(&self, by: &[Location]) -> bool {
        let publishers = self.placed.locations.publishers();
        let admitted = by.iter().any(|location| publishers.contains(*location));
        if !admitted {
            let event = self.process.events.event(self.index());
            self.placed.show(&self.process, || event.get());
        }
        admitted
    }

    /// The value it gets by a write at `offset`, whose bytes may cover only some of it. They are not read from where they were
    /// written: an update may have been shown there meanwhile.
    pub(crate) fn written(&self, offset: u64, bytes: Bytes<'_>) -> u64 {
        let mut value = self.value().to_ne_bytes();
        for (at, byte) in (self.placed.place.offset()..).zip(&mut value) {
            if let Some(written) = at.checked_sub(offset).and_then(|at| bytes.get(at)) {
                *byte = written;
            }
        }
        u64::from_ne_bytes(value)
    }

    /// The event's value, which its place may not show yet; what a device has written there, which the event may not have yet.
    fn value(&self) -> u64 {
        let there = match self.placed.is_written_by_device() {
            true => self.placed.read(&self.process),
            false => None,
        };
        there.unwrap_or_else(|| self.process.events.event(self.index()).get())
    }

    /// Puts the value into a copy of the memory from `offset` on.
    fn show_in(&self, offset: u64, copy: &mut [u8]) {
        let value = self.value().to_ne_bytes();
        for (at, byte) in (self.placed.place.offset()..).zip(value) {
            let at = at
                .checked_sub(offset)
                .and_then(|at| usize::try_from(at).ok());
            if let Some(copied) = at.and_then(|at| copy.get_mut(at)) {
                *copied = byte;
            }
        }
    }
}

/// What is written somewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes<'a> {
    Of(&'a [u8]),
    /// So many times the same.
    Fill(u8, u64),
}

impl Bytes<'_> {
    fn get(self, at: u64) -> Option<u8> {
        match self {
            Self::Of(bytes) => bytes.get(usize::try_from(at).ok()?).copied(),
            Self::Fill(byte, len) => (at < len).then_some(byte),
        }
    }

    pub(crate) fn len(self) -> u64 {
        match self {
            Self::Of(bytes) => bytes.len() as u64,
            Self::Fill(_, len) => len,
        }
    }
}

impl Places {
    /// The values of the events that stand in a range, put into a copy that was made of it.
    #[inline]
    pub(crate) fn show_in(&self, offset: u64, copy: &mut [u8]) {
        for touched in self.touched(offset, copy.len() as u64) {
            touched.show_in(offset, copy);
        }
    }

    fn enter(&self, entry: Entry, by_peers: bool) -> Result<(), Misplaced> {
        let mut inner = self.inner.get_or_init(Mutex::default).lock();
        let (first, behind) = (entry.offset, entry.offset + BYTES);
        let overlaps =
            |(from, len): &(u64, u64)| *from < behind && first < from.saturating_add(*len);
        if by_peers && inner.registered.iter().any(overlaps) {
            return Err(Misplaced::Registered);
        }
        match inner.entries.entry(first) {
            Occupied(_) => Err(Misplaced::Taken),
            Vacant(place) => {
                place.insert(entry);
                Ok(())
            }
        }
    }

    fn leave(&self, offset: u64) {
        if let Some(inner) = self.inner.get() {
            inner.lock().entries.remove(&offset);
        }
    }

    /// From now on peers can write a range by a device behind verbs; the events that stand in it, whole or in part.
    #[cfg(feature = "verbs")]
    pub(crate) fn enter_registered(&self, offset: u64, len: u64) -> SmallVec<[Touched; 1]> {
        let mut inner = self.inner.get_or_init(Mutex::default).lock();
        inner.registered.push((offset, len));
        touched(&inner.entries, offset, len)
    }

    /// They cannot any more.
    #[cfg(feature = "verbs")]
    pub(crate) fn leave_registered(&self, offset: u64, len: u64) {
        if let Some(inner) = self.inner.get() {
            let registered = &mut inner.lock().registered;
            if let Some(at) = registered.iter().position(|range| *range == (offset, len)) {
                registered.swap_remove(at);
            }
        }
    }

    /// The events whose places overlap a range that was written. Most memories have none.
    #[inline]
    pub(crate) fn touched(&self, offset: u64, len: u64) -> SmallVec<[Touched; 1]> {
        match self.inner.get() {
            None => SmallVec::new(),
            Some(inner) => touched(&inner.lock().entries, offset, len),
        }
    }
}

#[cold]
fn touched(entries: &BTreeMap<u64, Entry>, offset: u64, len: u64) -> SmallVec<[Touched; 1]> {
    // From the first on that ends behind the offset.
    let first = offset.saturating_sub(BYTES - 1);
    let end = offset.saturating_add(len).max(first);
    let live = entries.range(first..end).filter_map(|(_, entry)| {
        Some(Touched {
            process: entry.process.upgrade()?,
            placed: entry.placed.upgrade()?,
        })
    });
    live.collect()
}

/// The host has written this: events that stand there get it.
pub(crate) fn written_by_host(places: &Places, offset: u64, bytes: Bytes<'_>) {
    for touched in places.touched(offset, bytes.len()) {
        if touched.admits(&[Location::Host]) {
            let value = touched.written(offset, bytes);
            // A closed event has left its place, or is about to.
            let _ = touched.process.update(touched.index(), Update::Set(value));
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "verbs")]
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::rig::Still;

    /// Who has updated it may be about to show that.
    #[cfg(feature = "verbs")]
    #[test]
    fn nothing_is_shown_where_a_device_writes() {
        let process = Still::new();
        let memory = Arc::new(HostMemory::new(64).expect("room"));
        let publishers = Location::Host | Location::Remote;
        let locations = Locations::new(publishers, Location::Host).expect("locations");
        let place = EventPlace::Host(memory.clone(), 8);
        let _event = process
            .event_at(5, locations, place, None)
            .expect("an event");
        let touched = memory.places().touched(8, BYTES);
        let [found] = touched.as_slice() else {
            unreachable!("one stands there");
        };
        let placed = found.placed();
        let (over, shown) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    placed.show(&process, || 1);
                    shown.store(true, Ordering::Relaxed);
                }
            });
            let mut seen = 2;
            for _ in 0..200 {
                shown.store(false, Ordering::Relaxed);
                while !shown.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                placed.give_to_device(&process, 2);
                for _ in 0..1000 {
                    seen = seen.min(placed.read(&process).unwrap_or(0));
                }
                placed.take_from_device();
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(seen, 2);
        });
    }

    /// Who has found it there may be about to update it.
    #[test]
    fn an_event_has_its_place_among_events_as_long_as_its_place_in_memory_is_looked_at() {
        let process = Still::new();
        let memory = Arc::new(HostMemory::new(64).expect("room"));
        let everywhere = || Location::Host | Location::Device;
        let locations = Locations::new(everywhere(), everywhere()).expect("locations");
        let place = EventPlace::Host(memory.clone(), 8);
        let event = process
            .event_at(5, locations, place, None)
            .expect("an event");
        let touched = memory.places().touched(8, BYTES);
        let [found] = touched.as_slice() else {
            unreachable!("one stands there");
        };
        drop(event);
        let others = [(); 3].map(|()| process.event());
        assert!(
            others
                .iter()
                .all(|other| other.handle().0.index != found.index())
        );
        assert!(process.update(found.index(), Update::Set(7)).is_err());
        let live = process.events.live();
        drop(touched);
        assert_eq!(process.events.live(), live - 1);
    }
}
