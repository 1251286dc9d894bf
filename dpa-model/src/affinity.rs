//! Execution units that handlers ask for by number, and groups of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::DeviceConfig;
use crate::handler::{Affinity, HandlerError, Units};
use crate::turns::Turns;

/// The units of a device that some handler has asked for.
#[derive(Debug, Default)]
pub(crate) struct Affinities {
    units: Mutex<HashMap<u32, Arc<Units>>>,
    groups: Mutex<Vec<Arc<Units>>>,
}

impl Affinities {
    /// With groups of these sizes.
    pub(crate) fn new(groups: &[u32]) -> Self {
        let groups = groups.iter().map(|&size| Arc::new(Turns::new(size)));
        Self {
            units: Mutex::default(),
            groups: Mutex::new(groups.collect()),
        }
    }

    /// Where handlers of this affinity take turns; `None`: anywhere.
    pub(crate) fn units(
        &self,
        affinity: Affinity,
        config: &DeviceConfig,
    ) -> Result<Option<Arc<Units>>, HandlerError> {
        let units = config.partition_eus;
        match affinity {
            Affinity::None => Ok(None),
            Affinity::Strict(asked) if asked >= units => Err(HandlerError::NoUnit { asked, units }),
            Affinity::Strict(asked) => {
                let mut known = self.units.lock();
                let unit = known
                    .entry(asked)
                    .or_insert_with(|| Arc::new(Turns::new(1)));
                Ok(Some(unit.clone()))
            }
            Affinity::Group(asked) => {
                let groups = self.groups.lock();
                let group = groups.get(asked as usize).cloned();
                let groups = groups.len() as u32;
                group
                    .map(Some)
                    .ok_or(HandlerError::NoGroup { asked, groups })
            }
        }
    }
}
