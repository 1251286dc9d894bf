//! Regions as a device behind verbs has them, beside the table of regions.
//!
//! 1. A device gets the memory of a region, with the same rights.
//! 2. What it has for an event is the event's word (`words.rs`).
//! 3. Where peers may write may be places of events (`placed.rs`). From then on the place of one that peers publish is its
//!    word; one that kernels publish, too, cannot be.

use rdma::region::{Region, RemoteKey};

#[cfg(feature = "verbs")]
use verbs::Devices;
#[cfg(not(feature = "verbs"))]
use {super::engine::Engine, super::region::RegistrationError, rdma::region::RegionSpec};

/// A region as it was entered.
#[derive(Debug)]
pub(crate) struct EnteredRegion {
    pub(crate) region: Region,
    /// What peers know it by.
    pub(crate) remote: (RemoteKey, u64),
    /// What a device has of it.
    #[cfg(feature = "verbs")]
    devices: Devices,
}

impl EnteredRegion {
    fn of_table(region: Region) -> Self {
        Self {
            region,
            remote: (region.remote_key(), 0),
            #[cfg(feature = "verbs")]
            devices: Devices::default(),
        }
    }
}

#[cfg(not(feature = "verbs"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "with the feature `verbs` a device may refuse"
)]
pub(crate) fn enter(
    _engine: &mut Engine,
    region: Region,
    _spec: &RegionSpec,
) -> Result<EnteredRegion, RegistrationError> {
    Ok(EnteredRegion::of_table(region))
}

#[cfg(not(feature = "verbs"))]
pub(crate) fn leave(_engine: &mut Engine, _entered: &EnteredRegion, _space: usize) {}

#[cfg(feature = "verbs")]
pub(crate) use verbs::{enter, leave};

#[cfg(feature = "verbs")]
mod verbs {
    use std::sync::Arc;

    use rdma::region::{Domain, Region, RegionSpec, RegisterError, RemoteKey, Rights};
    use rdma::verbs::{Pinned, VerbsNic};
    use sync_event::Location;

    use super::super::context::domain;
    use super::super::engine::Engine;
    use super::super::memory::Space;
    use super::super::provider::Provider;
    use super::super::region::RegistrationError;
    use super::super::words::{NoWord, WordAt};
    use super::super::world::World;
    use super::EnteredRegion;
    use crate::placed::Touched;

    /// What a device has of a region besides its bytes.
    #[derive(Debug, Default)]
    pub(super) struct Devices {
        /// Words of events, and what peers know them by.
        words: Vec<(usize, (RemoteKey, u64))>,
        /// What peers can write: the first byte, and how many.
        written: Option<(u64, u64)>,
    }

    impl From<NoWord> for RegistrationError {
        fn from(reason: NoWord) -> Self {
            match reason {
                NoWord::Full => Self::Register(RegisterError::Full {
                    capacity: super::super::MAX_REGIONS,
                }),
                NoWord::Another => Self::OtherWord,
            }
        }
    }

    /// A device gets the memory, too.
    pub(crate) fn enter(
        engine: &mut Engine,
        region: Region,
        spec: &RegionSpec,
    ) -> Result<EnteredRegion, RegistrationError> {
        let mut entered = EnteredRegion::of_table(region);
        let Provider::Verbs(verbs) = &mut engine.provider else {
            return Ok(entered);
        };
        let space = spec.target.space.0 as usize;
        let done = register(verbs, &mut engine.world, spec, &mut entered);
        if done.is_err() {
            leave(engine, &entered, space);
        }
        done.map(|()| entered)
    }

    fn register(
        verbs: &mut VerbsNic,
        world: &mut World,
        spec: &RegionSpec,
        entered: &mut EnteredRegion,
    ) -> Result<(), RegistrationError> {
        let offset = spec.target.offset;
        let mut word = None;
        let (memory, at): (Arc<dyn Pinned>, usize) =
            match world.memory.spaces.get(spec.target.space.0 as usize) {
                Some(Space::Heap(process)) => {
                    (process.clone(), (offset - dpa_abi::HEAP_BASE) as usize)
                }
                Some(Space::Host(memory)) => (memory.clone(), offset as usize),
                Some(Space::Event(event)) => {
                    let (process, index) = (event.process(), event.index());
                    let (key, memory, at) = world.words.enter(&world.nic, process, index)?;
                    word = Some(key);
                    (memory, at)
                }
                None => return Err(RegistrationError::Stopped),
            };
        let len = spec.len as usize;
        let told = verbs
            .register(entered.region, spec, memory, (at, len))
            .inspect_err(|_| {
                // A word that was made for this only.
                let nobody = (RemoteKey(0), u64::MAX);
                word.into_iter()
                    .for_each(|key| world.words.leave(key, nobody));
            })?;
        entered.remote = (told.key, told.base);
        if let Some(key) = word {
            world.words.add(key, entered.remote);
            entered.devices.words.push((key, entered.remote));
        } else if spec
            .rights
            .intersects(Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC)
        {
            places(verbs, world, spec, entered)?;
        }
        Ok(())
    }

    /// The events that stand where peers may write from now on.
    fn places(
        verbs: &mut VerbsNic,
        world: &mut World,
        spec: &RegionSpec,
        entered: &mut EnteredRegion,
    ) -> Result<(), RegistrationError> {
        let range = (spec.target.offset, spec.len);
        let space = world.memory.spaces.get(spec.target.space.0 as usize);
        let Some(places) = space.and_then(Space::places) else {
            return Ok(());
        };
        let there = places.enter_registered(range.0, range.1);
        entered.devices.written = Some(range);
        for touched in &there {
            let publishers = touched.placed().locations().publishers();
            if !publishers.contains(Location::Remote) {
                continue;
            }
            if publishers.contains(Location::Device) {
                return Err(RegistrationError::DevicePublisher);
            }
            let key = word_of(verbs, world, touched)?;
            let offset = touched.placed().place().offset();
            let address = entered.remote.1.wrapping_add(offset.wrapping_sub(range.0));
            let remote = (entered.remote.0, address);
            world.words.add(key, remote);
            entered.devices.words.push((key, remote));
        }
        Ok(())
    }

    /// The place of an event becomes its word, which requests of the device to itself can reach.
    fn word_of(
        verbs: &mut VerbsNic,
        world: &mut World,
        touched: &Touched,
    ) -> Result<usize, RegistrationError> {
        let (key, memory, offset): WordAt = world.words.enter_placed(&world.nic, touched)?;
        if world.words.lacks_own(key) {
            let owner: Domain = domain(&touched.process);
            match verbs.own_word(owner, memory, offset) {
                Ok(own) => world.words.set_own(key, own),
                Err(error) => {
                    world.words.leave(key, (RemoteKey(0), u64::MAX));
                    return Err(error.into());
                }
            }
        }
        Ok(key)
    }

    /// The device gives it back: it is not touched any more.
    pub(crate) fn leave(engine: &mut Engine, entered: &EnteredRegion, space: usize) {
        if let Provider::Verbs(verbs) = &mut engine.provider {
            verbs.deregister(entered.region);
        }
        // What was written before that is carried.
        if !entered.devices.words.is_empty() {
            engine.world.carry_words();
        }
        for (word, remote) in &entered.devices.words {
            engine.world.words.leave(*word, *remote);
        }
        let space = engine.world.memory.spaces.get(space);
        if let (Some((offset, len)), Some(places)) =
            (entered.devices.written, space.and_then(Space::places))
        {
            places.leave_registered(offset, len);
        }
    }
}
