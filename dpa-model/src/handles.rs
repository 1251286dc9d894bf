//! What kernels of one process name by handles: a place and its generation, so that a handle that is out of date names
//! nothing.

use dpa_abi::Handle;
use parking_lot::RwLock;

/// Things of one kind of one process, by handle.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    slots: RwLock<Slots<T>>,
}

#[derive(Debug)]
struct Slots<T> {
    all: Vec<Slot<T>>,
    /// Those that hold nothing.
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    holds: Option<T>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self {
            slots: RwLock::new(Slots {
                all: Vec::new(),
                free: Vec::new(),
            }),
        }
    }
}

impl<T> Handles<T> {
    /// A handle for this.
    pub(crate) fn add(&self, what: T) -> Handle {
        let Slots { all, free } = &mut *self.slots.write();
        let index = free.pop().unwrap_or_else(|| {
            all.push(Slot {
                generation: 0,
                holds: None,
            });
            all.len() - 1
        });
        let slot = &mut all[index];
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.holds = Some(what);
        Handle {
            index: index as u32,
            generation: slot.generation,
        }
    }

    /// Takes back what this handle names.
    pub(crate) fn remove(&self, handle: Handle) -> Option<T> {
        let Slots { all, free } = &mut *self.slots.write();
        let index = handle.index as usize;
        let slot = all.get_mut(index)?;
        if slot.generation != handle.generation {
            return None;
        }
        let held = slot.holds.take()?;
        free.push(index);
        Some(held)
    }

    /// Takes back everything. `each` is called without the lock and may take long: who does the same meanwhile takes back what it has
    /// not come to.
    pub(crate) fn clear(&self, each: impl FnMut(T)) {
        let mut at = 0;
        std::iter::from_fn(|| self.take_from(&mut at)).for_each(each);
    }

    /// Takes back the first that is at this place or behind it, which is the next to look at then.
    fn take_from(&self, at: &mut usize) -> Option<T> {
        let Slots { all, free } = &mut *self.slots.write();
        let (index, slot) = all
            .iter_mut()
            .enumerate()
            .skip(*at)
            .find(|(_, slot)| slot.holds.is_some())?;
        *at = index + 1;
        free.push(index);
        slot.holds.take()
    }

    /// Whether something that is held is so.
    pub(crate) fn any(&self, is_so: impl Fn(&T) -> bool) -> bool {
        let slots = self.slots.read();
        slots
            .all
            .iter()
            .filter_map(|slot| slot.holds.as_ref())
            .any(is_so)
    }

    /// What this handle names.
    pub(crate) fn get<R>(&self, handle: Handle, of: impl FnOnce(&T) -> R) -> Option<R> {
        let slots = self.slots.read();
        let slot = slots.all.get(handle.index as usize)?;
        let what = slot.holds.as_ref()?;
        (slot.generation == handle.generation).then(|| of(what))
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_handle_out_of_date_names_nothing() {
        let handles = Handles::default();
        let first = handles.add("first");
        assert_eq!(handles.get(first, |what| *what), Some("first"));
        assert_eq!(handles.remove(first), Some("first"));
        let second = handles.add("second");
        assert_eq!(first.index, second.index, "the place is used again");
        assert_eq!(handles.get(first, |what| *what), None);
        assert_eq!(handles.remove(first), None);
        let mut taken = Vec::new();
        handles.clear(|what| {
            handles.clear(|_| unreachable!("it is taken"));
            taken.push(what);
        });
        assert_eq!(taken, ["second"]);
        assert_eq!(handles.get(second, |what| *what), None);
    }
}
