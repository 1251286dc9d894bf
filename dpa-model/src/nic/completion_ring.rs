//! A completion queue as the NIC writes it. The protocol stands in [`dpa_abi::queue::record`].
//!
//! Who is told when an entry is written, and when:
//!
//! 1. A handler is triggered, tasks of the host are woken, or 1 is added to the queue's event: whichever it has, in this
//!    order. If a kernel's thread sleeps at the event, 1 is added to it, whatever else the queue has.
//! 2. Only if a notification was asked for since the last, or the queue is always armed; threads that sleep ask for themselves
//!    alone.
//! 3. Once for all entries that the NIC writes in one go, unless the queue is always armed or has moderation: asking for a
//!    notification and taking that is a read-modify-write each, and so is what a reader gives back.
//! 4. With moderation not before there are so many entries since the last notification, or so much time has passed since
//!    the first of them.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use dpa_abi::queue::record::{
    ACKNOWLEDGED, ARMED, ARMED_ASKED, ARMED_ASLEEP, COMPLETION_ENTRIES, COMPLETION_NUMBER,
    COMPLETION_RING, COMPLETION_WORDS, ERROR, NOTIFY_EVENT, PRODUCED, READ,
};
use dpa_abi::queue::{CompletionEntry, ENTRY_WORDS, EntryWords, completion, notify, phase, slot};

use super::after::After;
use super::completions::CompletionQueueError;
use super::period::Period;
use super::queues::Block;
use super::ring::{QueueMemory, Ring};
use crate::event::EventRef;
use crate::handler::Handler;
use crate::process::Process;
use crate::wakers::Wakers;

/// What happens to an entry for which a completion queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OverrunPolicy {
    /// The queue takes no entry any more, and the queue pairs that report to it fail.
    #[default]
    Fail,
    /// It takes the place of the oldest that nobody has given back. The reader finds out how many are lost.
    Overwrite,
}

/// How many completions one notification stands for: none comes before there are `count`, or `period` has passed since
/// the first of them.
#[doc(alias = "flexio_cq_modify_moderation")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moderation {
    /// Completions.
    pub count: u16,
    /// Time; a whole number of microseconds is kept.
    pub period: Duration,
}

impl Moderation {
    /// Every completion by itself.
    pub const NONE: Self = Self {
        count: 1,
        period: Duration::ZERO,
    };
    /// The longest period.
    pub const MAX_PERIOD: Duration = Duration::from_micros(0xfff);

    fn is_none(self) -> bool {
        self.count <= 1
    }
}

impl Default for Moderation {
    fn default() -> Self {
        Self::NONE
    }
}

/// What a completion queue is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompletionSpec {
    /// At least so many entries.
    pub entries: u32,
    /// What happens when it is full.
    pub overrun: OverrunPolicy,
    /// It notifies whether or not anybody has asked.
    pub always_armed: bool,
    /// How many completions one notification stands for.
    pub moderation: Moderation,
}

/// The word by which a kernel asks for a notification.
struct Armed<'a>(&'a Block);

impl notify::Flag for Armed<'_> {
    fn swap(&self, value: u64) -> u64 {
        self.0.swap(ARMED, value)
    }
    fn or(&self, bits: u64) -> u64 {
        self.0.or(ARMED, bits)
    }
}

/// A completion queue.
#[derive(Debug)]
pub(crate) struct CompletionRing {
    ring: Ring,
    record: Block,
    event: EventRef,
    handler: Option<Arc<Handler>>,
    /// Tasks of the host that wait for an entry.
    wakers: Wakers,
    number: u32,
    spec: CompletionSpec,
    entries: u64,
    produced: u64,
    /// Entries whose slots are free again, as far as was seen.
    free_from: u64,
    /// When the last was written.
    written_at: u64,
    overrun: bool,
    /// Entries since the last notification that was or could have been.
    held: u16,
    /// When the first of them came.
    held_since: u64,
    /// Whether a timer is set. One at a time: it is over when the period is for which it was set, and if another has begun
    /// meanwhile it is set again for that.
    timed: bool,
    /// The number of the timer that counts: one that was set for another moderation does nothing.
    timer: u64,
}

/// Who is told of an entry.
#[derive(Debug)]
pub(crate) enum Told {
    /// Nobody has asked, it is held back with others, or who has asked knows already.
    Nobody,
    /// Who has asked, by [`CompletionRing::tell_of_all`] when everything is written.
    AtTheEnd,
    /// Who has asked, now.
    Now(After),
    /// When this is over.
    Later(Period),
}

/// A completion queue takes no entry any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrun;

impl CompletionRing {
    /// A queue, its entries rounded up already; `event` is told of notifications.
    pub(crate) fn new(
        process: &Arc<Process>,
        spec: CompletionSpec,
        memory: &QueueMemory,
        event: EventRef,
    ) -> Result<Self, CompletionQueueError> {
        let entries = spec.entries;
        let words = entries as usize * ENTRY_WORDS;
        let ring = memory.ring::<CompletionQueueError>(process, words)?;
        for slot in 0..entries as usize {
            let word = slot * ENTRY_WORDS + completion::OWNER_WORD;
            ring.store(word, completion::INVALID_OWNER_WORD);
        }
        let record = Block::new(process, COMPLETION_WORDS)?;
        record.store(COMPLETION_RING, ring.addr());
        record.store(COMPLETION_ENTRIES, entries.into());
        record.store(NOTIFY_EVENT, event.handle().0.to_bits());
        Ok(Self {
            ring,
            record,
            event,
            handler: None,
            wakers: Wakers::default(),
            number: 0,
            spec,
            entries: entries.into(),
            produced: 0,
            free_from: 0,
            written_at: 0,
            overrun: false,
            held: 0,
            held_since: 0,
            timed: false,
            timer: 0,
        })
    }

    /// Where its record is.
    pub(crate) fn addr(&self) -> u64 {
        self.record.addr
    }

    /// Whether it has overrun.
    pub(crate) fn has_overrun(&self) -> bool {
        self.overrun
    }

    /// Writes an entry; a notification, if one was asked for. `now` is the time, if the caller knows it.
    pub(crate) fn put(
        &mut self,
        entry: &CompletionEntry,
        now: Option<u64>,
    ) -> Result<Told, Overrun> {
        if self.overrun {
            return Err(Overrun);
        }
        let full = self.is_full();
        match self.spec.overrun {
            OverrunPolicy::Fail if full => {
                self.overrun = true;
                self.record.store(ERROR, 1);
                return Err(Overrun);
            }
            // Before the entry, so that a reader who finds parts of it knows.
            OverrunPolicy::Overwrite => self.record.store(PRODUCED, self.produced + 1),
            OverrunPolicy::Fail => {}
        }
        let now = now.unwrap_or_else(|| self.record.process.device().clock.now());
        // Who works the NIC may have looked at the clock before the one who worked it last.
        self.written_at = self.written_at.max(now);
        let entry = CompletionEntry {
            timestamp: self.written_at,
            ..*entry
        };
        let words = entry.encode(phase(self.produced, self.entries));
        let at_the_end = self.spec.moderation.is_none() && !self.spec.always_armed;
        let told = if at_the_end {
            self.write(&words);
            Told::AtTheEnd
        } else {
            let asked = notify::write_then_take(&Armed(&self.record), || self.write(&words));
            self.tell(asked)
        };
        self.produced += 1;
        Ok(told)
    }

    /// The NIC has written what it had to write in one go: who has asked is told.
    pub(crate) fn tell_of_all(&mut self) -> Told {
        match self.take_asked() {
            0 => Told::Nobody,
            asked => self.notify_now(asked),
        }
    }

    /// Who waits is told, whether or not it has asked, as when the queue has overrun.
    pub(crate) fn tell_anyway(&mut self) -> After {
        let asked = self.take_asked();
        self.notification(asked | ARMED_ASKED)
    }

    /// Who has asked for a notification, or sleeps; they are to be told now.
    fn take_asked(&self) -> u64 {
        notify::take(&Armed(&self.record))
    }

    /// The next entry is to be notified.
    fn ask(&self, bits: u64) {
        self.record.or(ARMED, bits);
    }

    fn is_full(&mut self) -> bool {
        let full = |free_from: u64| self.produced.wrapping_sub(free_from) >= self.entries;
        if full(self.free_from) {
            self.free_from = self.record.load(ACKNOWLEDGED);
        }
        full(self.free_from)
    }

    fn write(&self, words: &EntryWords) {
        let first = slot(self.produced, self.entries) * ENTRY_WORDS;
        self.ring.store_entry(first, words, completion::OWNER_WORD);
    }

    /// Who is to be told of an entry; `asked`: what stood in `ARMED`.
    fn tell(&mut self, asked: u64) -> Told {
        let asked = match self.spec.always_armed {
            true => asked | ARMED_ASKED,
            false => asked,
        };
        if asked == 0 {
            return Told::Nobody;
        }
        let moderation = self.spec.moderation;
        if moderation.is_none() {
            return self.notify_now(asked);
        }
        self.held += 1;
        if self.held >= moderation.count {
            self.held = 0;
            return self.notify_now(asked);
        }
        // It stays asked for.
        self.ask(asked);
        if self.held == 1 {
            self.held_since = self.record.process.device().clock.now();
        }
        match self.held {
            1 if !self.timed => Told::Later(self.set_timer()),
            _ => Told::Nobody,
        }
    }

    /// Who waits is to be told now. A handler that runs is told at once: it looks again before it ends.
    fn notify_now(&mut self, asked: u64) -> Told {
        match self.attached() {
            Some(handler) if asked & ARMED_ASKED != 0 && handler.trigger_running() => {
                match asked & ARMED_ASLEEP {
                    0 => Told::Nobody,
                    _ => Told::Now(self.wake_sleepers(None)),
                }
            }
            _ => Told::Now(self.notification(asked)),
        }
    }

    /// For the end of the period that has begun.
    fn set_timer(&mut self) -> Period {
        self.timed = true;
        Period {
            process: Arc::downgrade(&self.record.process),
            number: self.number,
            timer: self.timer,
            until: self.period_end(),
        }
    }

    fn period_end(&self) -> u64 {
        self.held_since + self.spec.moderation.period.as_nanos() as u64
    }

    /// Its timer is over. If the period is, too, who waits is told of what has come, if nobody has been.
    pub(crate) fn time_is_up(&mut self, timer: u64) -> Told {
        if timer != self.timer {
            return Told::Nobody;
        }
        self.timed = false;
        if self.held == 0 {
            return Told::Nobody;
        }
        if self.record.process.device().clock.now() < self.period_end() {
            return Told::Later(self.set_timer());
        }
        self.held = 0;
        Told::Now(self.tell_anyway())
    }

    /// Asks for a notification of what comes after the first `consumer` entries; of what is there already, at once.
    /// `None`: so many have never been written.
    pub(crate) fn arm(&mut self, consumer: u64) -> Option<Option<After>> {
        let there = self.produced.checked_sub(consumer)? > 0;
        if !there {
            self.ask(ARMED_ASKED);
            return Some(None);
        }
        Some(Some(self.tell_anyway()))
    }

    /// Its moderation.
    pub(crate) fn moderation(&self) -> Moderation {
        self.spec.moderation
    }

    /// From now on this is its moderation. Who waits is told of what was held back.
    pub(crate) fn moderate(&mut self, moderation: Moderation) -> Option<After> {
        self.spec.moderation = moderation;
        let held = std::mem::take(&mut self.held);
        self.timed = false;
        self.timer += 1;
        (held > 0).then(|| self.tell_anyway())
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// It gets a number.
    pub(crate) fn enter(&mut self, number: u32) {
        self.number = number;
        self.record.store(COMPLETION_NUMBER, number.into());
    }

    /// Whether it is this process's.
    pub(crate) fn is_of(&self, process: &Process) -> bool {
        std::ptr::eq(&raw const *self.record.process, process)
    }

    /// The next entry, taken by the host; or how many are lost.
    pub(crate) fn take(&mut self) -> Option<Result<CompletionEntry, u64>> {
        let read = self.record.load(READ);
        let behind = self.produced.wrapping_sub(read);
        if behind == 0 || behind > u64::MAX / 2 {
            return None;
        }
        if behind > self.entries {
            self.give_back(self.produced - self.entries);
            return Some(Err(behind - self.entries));
        }
        let first = slot(read, self.entries) * ENTRY_WORDS;
        let words = std::array::from_fn(|word| self.ring.load(first + word));
        self.give_back(read.wrapping_add(1));
        // The NIC writes only such entries; a kernel that spoils one has spoilt its own.
        Some(CompletionEntry::decode(&words).ok_or(1))
    }

    fn give_back(&self, read: u64) {
        self.record.store(READ, read);
        self.record.store(ACKNOWLEDGED, read);
    }

    /// The tasks of the host that wait are woken.
    pub(crate) fn wake_readers(&mut self) -> Option<After> {
        (!self.wakers.is_empty()).then(|| After::Wake(self.wakers.take()))
    }

    /// This task is woken by the next notification, and it is asked for. The waker it had: what its task owns may be dropped with
    /// it, so not under the NIC's lock.
    #[must_use]
    pub(crate) fn wait(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.ask(ARMED_ASKED);
        self.wakers.wait(number, waker)
    }

    /// The task does not wait any more; its waker.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Waker> {
        self.wakers.leave(number)
    }

    /// From now on notifications trigger this handler; the first is asked for. What is there already triggers it at once. The
    /// handler before, which is over or about to be.
    pub(crate) fn attach(
        &mut self,
        handler: Arc<Handler>,
    ) -> (Option<Arc<Handler>>, Option<After>) {
        let before = self.handler.replace(handler);
        self.ask(ARMED_ASKED);
        let there = self.produced > self.record.load(READ);
        (before, there.then(|| self.notification(ARMED_ASKED)))
    }

    /// Notifications go to tasks and the event again, if this is so of the handler that is attached.
    pub(crate) fn detach_if(&mut self, of: impl Fn(&Arc<Handler>) -> bool) -> Option<Arc<Handler>> {
        self.handler.take_if(|handler| of(handler))
    }

    /// The handler that is attached. One in its last activation, or over, does not count: nothing starts it any more.
    pub(crate) fn attached(&self) -> Option<&Arc<Handler>> {
        let handler = self.handler.as_ref();
        handler.filter(|handler| handler.takes_triggers())
    }

    /// What wakes whoever waits for a notification; `asked`: what stood in `ARMED`.
    fn notification(&mut self, asked: u64) -> After {
        let told = match self.attached().cloned() {
            _ if asked & ARMED_ASKED == 0 => None,
            Some(handler) => {
                let process = self.record.process.clone();
                Some(After::Trigger { process, handler })
            }
            None => self.wake_readers(),
        };
        match told {
            Some(told) if asked & ARMED_ASLEEP == 0 => told,
            told => self.wake_sleepers(told),
        }
    }

    /// What wakes threads that sleep at the event, and does something else then.
    fn wake_sleepers(&self, then: Option<After>) -> After {
        After::Notify {
            event: self.event.use_(),
            then: then.map(Box::new),
        }
    }
}

const _: () = assert!(completion::OWNER_WORD == ENTRY_WORDS - 1);

#[cfg(test)]
mod tests;
