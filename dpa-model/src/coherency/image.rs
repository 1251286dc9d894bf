//! The heap as the NIC sees it, and as other threads do.
//!
//! Stores go straight to the heap. Whenever a thread leaves its unit or orders its stores, the ranges it may store to are
//! compared with what was seen of them before: what differs, it has stored. The NIC is shown the bytes from before until
//! they are written back or evicted. Now and then a thread's stores are also kept from the other threads for a while.
//!
//! Whoever else stores to the heap says so: [`Heap::wrote`].

use std::collections::BTreeMap;
use std::ops::Range;

use dpa_abi::Rights;
use dpa_abi::access::Cell;
use parking_lot::Mutex;

use super::{LINE, ThreadKey, lines};
use crate::heap::Heap;
use crate::seeded::Choices;

const PAGE: u64 = 4096;
/// A thread that leaves its unit keeps stores back one time in so many.
const DELAYS_ONE_IN: u64 = 4;

type Line = [u8; LINE as usize];

/// What the NIC sees of the heaps of a process, and what is known of the stores of its threads.
#[derive(Debug, Default)]
pub(crate) struct Image {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages that a thread could store to, as they were when they were last looked at.
    seen: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    /// Lines whose last stores the NIC does not see.
    held: BTreeMap<u64, Held>,
    threads: Vec<Thread>,
}

/// A line that was not written back.
#[derive(Debug)]
struct Held {
    /// What the NIC sees.
    nic: Line,
    /// Who stored to it.
    writers: Vec<ThreadKey>,
}

#[derive(Debug)]
struct Thread {
    key: ThreadKey,
    /// Where it may store: ranges that do not touch each other.
    ranges: Vec<Range<u64>>,
    /// Whether it orders its stores by atomic operations, which nobody sees it make.
    atomics: bool,
    /// Stores that the other threads do not see yet.
    delayed: Vec<(u64, u8)>,
}

impl Thread {
    /// What it may store to already, where that touches this, is one range with it from now on.
    fn may_store_to(&mut self, mut range: Range<u64>) {
        self.ranges.retain(|other| {
            let touches = other.start <= range.end && range.start <= other.end;
            if touches {
                range = range.start.min(other.start)..range.end.max(other.end);
            }
            !touches
        });
        self.ranges.push(range);
    }
}

impl State {
    fn thread(&mut self, key: ThreadKey) -> Option<&mut Thread> {
        self.threads.iter_mut().find(|thread| thread.key == key)
    }

    fn seen_line(&mut self, line: u64) -> Option<&mut [u8]> {
        let page = self.seen.get_mut(&(line - line % PAGE))?;
        let at = (line % PAGE) as usize;
        page.get_mut(at..at + LINE as usize)
    }

    /// A store to this line was seen: the NIC goes on seeing what was there before.
    fn hold(&mut self, line: u64, now: &Line, writer: ThreadKey) {
        let Some(seen) = self.seen_line(line) else {
            return;
        };
        let mut before = [0; LINE as usize];
        before.copy_from_slice(seen);
        seen.copy_from_slice(now);
        let held = self.held.entry(line).or_insert_with(|| Held {
            nic: before,
            writers: Vec::new(),
        });
        if !held.writers.contains(&writer) {
            held.writers.push(writer);
        }
    }

    /// The lines that a thread has stored to since they were looked at, as they are now.
    fn stored(&mut self, heap: &Heap, key: ThreadKey) -> Vec<(u64, Line)> {
        let ranges = self.thread(key).map(|thread| thread.ranges.clone());
        let mut stored = Vec::new();
        for range in ranges.into_iter().flatten() {
            for line in lines(&range) {
                let mut now = [0; LINE as usize];
                heap.line(line).copy_out(0, &mut now);
                if self.seen_line(line).is_some_and(|seen| *seen != now) {
                    stored.push((line, now));
                }
            }
        }
        stored
    }

    fn publish(&mut self, heap: &Heap, key: ThreadKey) {
        for (line, now) in self.stored(heap, key) {
            self.hold(line, &now, key);
        }
    }

    /// Takes a line's stores out of the heap, until [`State::catch_up`].
    fn delay(&mut self, heap: &Heap, key: ThreadKey, line: u64, now: &Line) {
        let mut before = [0; LINE as usize];
        if let Some(seen) = self.seen_line(line) {
            before.copy_from_slice(seen);
        }
        let cell = heap.line(line);
        let differ = (0..LINE as usize).filter(|&at| before[at] != now[at]);
        let Some(thread) = self.thread(key) else {
            return;
        };
        for at in differ {
            cell.copy_in(at, &before[at..=at]);
            thread.delayed.push((line + at as u64, now[at]));
        }
    }

    /// Makes the stores that were kept back.
    fn catch_up(&mut self, heap: &Heap, key: ThreadKey) {
        let Some(thread) = self.thread(key) else {
            return;
        };
        for (addr, byte) in std::mem::take(&mut thread.delayed) {
            if let Some(cell) = heap.within(addr, 1) {
                cell.copy_in(0, &[byte]);
            }
        }
    }

    fn write_back(&mut self, heap: &Heap, key: ThreadKey) {
        self.publish(heap, key);
        self.held.retain(|_, held| !held.writers.contains(&key));
    }
}

/// All of this but `wrote` and `nic_read` is for the seeded driver, which runs one thread at a time.
impl Heap {
    fn line(&self, line: u64) -> Cell {
        let cell = self.within(line, LINE);
        cell.expect("allocations begin and end at lines, and so does the heap")
    }

    fn with_image<R>(&self, f: impl FnOnce(&mut State) -> R) -> Option<R> {
        let image = self.image.as_ref()?;
        Some(f(&mut image.state.lock()))
    }

    /// A thread has bound a range.
    pub(super) fn bound(&self, key: ThreadKey, range: Range<u64>, rights: Rights) {
        if rights == Rights::Read || range.is_empty() {
            return;
        }
        self.with_image(|state| {
            let first = range.start - range.start % PAGE;
            for page in (first..range.end).step_by(PAGE as usize) {
                state.seen.entry(page).or_insert_with(|| {
                    let mut bytes = Box::new([0; PAGE as usize]);
                    if let Some(cell) = self.within(page, PAGE) {
                        cell.copy_out(0, &mut *bytes);
                    }
                    bytes
                });
            }
            if state.thread(key).is_none() {
                state.threads.push(Thread {
                    key,
                    ranges: Vec::new(),
                    atomics: false,
                    delayed: Vec::new(),
                });
            }
            if let Some(thread) = state.thread(key) {
                thread.atomics |= rights == Rights::Atomic;
                thread.may_store_to(range);
            }
        });
    }

    /// Whatever the thread has stored, the other threads see from now on.
    pub(super) fn publish(&self, key: ThreadKey) {
        self.with_image(|state| state.publish(self, key));
    }

    /// Whatever the thread has stored, the NIC sees from now on.
    pub(super) fn write_back(&self, key: ThreadKey) {
        self.with_image(|state| state.write_back(self, key));
    }

    /// The thread leaves its unit; it may be that others do not see yet what it has stored.
    pub(super) fn leave(&self, key: ThreadKey, choices: &Choices) {
        self.with_image(|state| {
            let orders = state.thread(key).is_none_or(|thread| thread.atomics);
            let stored = state.stored(self, key);
            let delays = !orders && !stored.is_empty() && choices.below(DELAYS_ONE_IN) == 0;
            for (line, now) in stored {
                if delays && choices.below(2) == 0 {
                    state.delay(self, key, line, &now);
                } else {
                    state.hold(line, &now, key);
                }
            }
        });
    }

    /// The thread comes back: it sees its own stores.
    pub(super) fn come_back(&self, key: ThreadKey) {
        self.with_image(|state| state.catch_up(self, key));
    }

    /// The thread is over, and all it has stored is seen by all.
    pub(super) fn thread_over(&self, key: ThreadKey) {
        self.with_image(|state| {
            state.catch_up(self, key);
            state.write_back(self, key);
            state.threads.retain(|thread| thread.key != key);
        });
    }

    /// A line falls out of a cache, if the seed says so.
    pub(super) fn evict(&self, choices: &Choices) {
        self.with_image(|state| {
            let held = state.held.len() as u64;
            if held > 0 && choices.below(16) == 0 {
                let at = choices.below(held) as usize;
                let line = state.held.keys().nth(at).copied();
                line.map(|line| state.held.remove(&line));
            }
        });
    }

    /// Makes the stores of one thread that were kept back; false if there are none. Sooner or later all are seen.
    pub(super) fn drain(&self) -> bool {
        let drained = self.with_image(|state| {
            let late = state.threads.iter().find(|t| !t.delayed.is_empty());
            let Some(key) = late.map(|thread| thread.key) else {
                return false;
            };
            state.catch_up(self, key);
            state.publish(self, key);
            true
        });
        drained.unwrap_or(false)
    }

    /// Somebody who is no thread of a kernel has stored here: it is seen by all.
    #[inline]
    pub fn wrote(&self, addr: u64, len: u64) {
        if !self.is_coherent() {
            self.show_to_all(addr, len);
        }
    }

    #[cold]
    fn show_to_all(&self, addr: u64, len: u64) {
        self.with_image(|state| {
            for line in lines(&(addr..addr + len)) {
                let part = addr.max(line)..(addr + len).min(line + LINE);
                let place = (part.start - line) as usize..(part.end - line) as usize;
                let Some(cell) = self.within(part.start, part.end - part.start) else {
                    return;
                };
                if let Some(seen) = state.seen_line(line) {
                    cell.copy_out(0, &mut seen[place.clone()]);
                }
                if let Some(held) = state.held.get_mut(&line) {
                    cell.copy_out(0, &mut held.nic[place]);
                }
            }
        });
    }

    /// Whether everyone always sees the same, as under the `threads` driver.
    #[inline]
    pub(crate) fn is_coherent(&self) -> bool {
        self.image.is_none()
    }

    /// What the NIC reads here: false, with nothing copied, if there is no such place.
    pub(crate) fn nic_read(&self, addr: u64, out: &mut [u8]) -> bool {
        let len = out.len() as u64;
        let Some(cell) = self.within(addr, len) else {
            return false;
        };
        cell.copy_out(0, out);
        self.with_image(|state| {
            let first = addr - addr % LINE;
            for (&line, held) in state.held.range(first..addr + len) {
                let part = addr.max(line)..(addr + len).min(line + LINE);
                let from = (part.start - line) as usize..(part.end - line) as usize;
                let to = (part.start - addr) as usize..(part.end - addr) as usize;
                out[to].copy_from_slice(&held.nic[from]);
            }
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_each_other_are_one() {
        let mut thread = Thread {
            key: 0,
            ranges: Vec::new(),
            atomics: false,
            delayed: Vec::new(),
        };
        let bound = [8..16, 32..40, 16..24, 10..12];
        bound.into_iter().for_each(|r| thread.may_store_to(r));
        assert_eq!(thread.ranges, [32..40, 8..24]);
        thread.may_store_to(20..33);
        assert_eq!(thread.ranges.as_slice(), std::slice::from_ref(&(8..40)));
    }
}
