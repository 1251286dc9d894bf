//! Execution units that handlers ask for by number, and groups of them.

use std::sync::Arc;

use crate::handler::{Affinity, HandlerError, Units};
use crate::layout::UnitSet;
use crate::turns::{Set, Turns};

/// The units of a partition that some handler may ask for.
#[derive(Debug)]
pub(crate) struct Affinities {
    turns: Arc<Units>,
    units: u32,
    groups: Vec<Set>,
}

/// Where a handler takes its turns: the units it may have one of.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) turns: Arc<Units>,
    pub(crate) set: Set,
}

impl Affinities {
    /// Of so many units, with these groups of them.
    pub(crate) fn new(units: u32, groups: &[UnitSet]) -> Self {
        Self {
            turns: Arc::new(Turns::new(units)),
            units,
            groups: groups.iter().map(|set| set.numbers().into()).collect(),
        }
    }

    /// Where handlers of this affinity take turns; `None`: anywhere.
    pub(crate) fn bound(&self, affinity: Affinity) -> Result<Option<Bound>, HandlerError> {
        let units = self.units;
        let set = match affinity {
            Affinity::None => return Ok(None),
            Affinity::Strict(asked) if asked >= units => {
                return Err(HandlerError::NoUnit { asked, units });
            }
            Affinity::Strict(asked) => [asked].into(),
            Affinity::Group(asked) => {
                let groups = self.groups.len() as u32;
                let group = self.groups.get(asked as usize).cloned();
                group.ok_or(HandlerError::NoGroup { asked, groups })?
            }
        };
        Ok(Some(Bound {
            turns: self.turns.clone(),
            set,
        }))
    }
}
