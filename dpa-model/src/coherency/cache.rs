//! What each thread's unit has cached of host memory behind windows.
//!
//! A thread that binds a window gets a copy of the memory of its own, which is its cache: what it reads stays as it was
//! until it is invalidated or evicted, and what it stores stays there until it is written back or evicted. Two caches
//! that store to different bytes of a line do not disturb each other.

use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{LINE, ThreadKey};
use crate::nic::HostMemory;
use crate::seeded::Choices;

/// The caches of a process.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    all: Mutex<Vec<Cache>>,
}

#[derive(Debug)]
struct Cache {
    key: ThreadKey,
    host: Arc<HostMemory>,
    /// What the thread sees.
    here: HostMemory,
    /// What it saw when a line was last fetched or written back: bytes that differ from it were stored.
    fetched: Vec<u8>,
}

impl Cache {
    fn new(key: ThreadKey, host: &Arc<HostMemory>) -> Option<Self> {
        let mut fetched = vec![0; host.len()];
        host.read(0, &mut fetched);
        let here = HostMemory::new(host.len())?;
        here.put(0, &fetched);
        let host = host.clone();
        Some(Self {
            key,
            host,
            here,
            fetched,
        })
    }

    fn lines(&self) -> u64 {
        (self.fetched.len() as u64).div_ceil(LINE)
    }

    /// One line: writes back what was stored to it, if asked to; fetches it again where nothing was stored, if asked to.
    fn refresh(&mut self, line: u64, write_back: bool, invalidate: bool) {
        let at = line * LINE;
        let end = (at + LINE).min(self.fetched.len() as u64);
        let fetched = &mut self.fetched[at as usize..end as usize];
        let mut here = [0; LINE as usize];
        let here = &mut here[..fetched.len()];
        self.here.read(at, here);
        if *here != *fetched && write_back {
            for (offset, byte) in stored(here, fetched) {
                self.host.put(at + offset, &[byte]);
            }
            fetched.copy_from_slice(here);
        }
        if invalidate {
            let mut now = [0; LINE as usize];
            let now = &mut now[..fetched.len()];
            self.host.read(at, now);
            let kept: Vec<_> = stored(here, fetched).collect();
            fetched.copy_from_slice(now);
            for (offset, byte) in kept {
                now[offset as usize] = byte;
            }
            self.here.put(at, now);
        }
    }

    /// One line: what was stored to it is forgotten, and it is fetched again.
    fn ignore(&mut self, line: u64) {
        let at = line * LINE;
        let end = (at + LINE).min(self.fetched.len() as u64);
        if at < end {
            let fetched = &mut self.fetched[at as usize..end as usize];
            self.host.read(at, fetched);
            self.here.put(at, fetched);
        }
    }

    fn refresh_all(&mut self, write_back: bool, invalidate: bool) {
        for line in 0..self.lines() {
            self.refresh(line, write_back, invalidate);
        }
    }
}

/// The bytes that were stored, and where in the line.
fn stored(here: &[u8], fetched: &[u8]) -> impl Iterator<Item = (u64, u8)> {
    let pairs = here.iter().zip(fetched).enumerate();
    pairs.filter_map(|(at, (here, fetched))| (here != fetched).then_some((at as u64, *here)))
}

impl Caches {
    /// Where the thread sees these bytes of a window: in its cache, which stays where it is until the thread is over.
    pub(crate) fn address(
        &self,
        key: ThreadKey,
        host: &Arc<HostMemory>,
        offset: u64,
        len: u64,
    ) -> Option<NonNull<u8>> {
        let mut all = self.all.lock();
        let known = |cache: &Cache| cache.key == key && Arc::ptr_eq(&cache.host, host);
        let at = match all.iter().position(known) {
            Some(at) => at,
            None => {
                all.push(Cache::new(key, host)?);
                all.len() - 1
            }
        };
        all[at].here.address(offset, len)
    }

    fn each(&self, key: ThreadKey, f: impl Fn(&mut Cache)) {
        let mut all = self.all.lock();
        all.iter_mut().filter(|cache| cache.key == key).for_each(f);
    }

    /// What the thread has stored, host and NIC see from now on.
    pub(super) fn write_back(&self, key: ThreadKey) {
        self.each(key, |cache| cache.refresh_all(true, false));
    }

    /// What the thread reads from now on is what host memory holds, but for what it has stored itself.
    pub(super) fn invalidate(&self, key: ThreadKey) {
        self.each(key, |cache| cache.refresh_all(false, true));
    }

    /// The line of a window that this byte lies in: forgotten, with what was stored to it.
    pub(crate) fn ignore(&self, key: ThreadKey, host: &Arc<HostMemory>, offset: u64) {
        let mut all = self.all.lock();
        let known = all.iter_mut();
        known
            .filter(|cache| cache.key == key && Arc::ptr_eq(&cache.host, host))
            .for_each(|cache| cache.ignore(offset / LINE));
    }

    /// The thread is over: what it has stored is written back.
    pub(super) fn thread_over(&self, key: ThreadKey) {
        self.write_back(key);
        self.all.lock().retain(|cache| cache.key != key);
    }

    /// A line of one cache is evicted, if the seed says so.
    pub(super) fn evict(&self, choices: &Choices) {
        let mut all = self.all.lock();
        if !all.is_empty() && choices.below(32) == 0 {
            let at = choices.below(all.len() as u64) as usize;
            let line = choices.below(all[at].lines().max(1));
            all[at].refresh(line, true, true);
        }
    }
}
