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

#[cfg(test)]
mod tests {
    use super::*;

    fn set(affinity: Affinity) -> Result<Option<Vec<u32>>, HandlerError> {
        let groups = [[0, 2].into_iter().collect(), [3].into_iter().collect()];
        let bound = Affinities::new(4, &groups).bound(affinity)?;
        Ok(bound.map(|bound| bound.set.to_vec()))
    }

    #[test]
    fn a_handler_is_bound_to_what_it_asked_for() {
        assert_eq!(set(Affinity::None), Ok(None));
        assert_eq!(set(Affinity::Strict(3)), Ok(Some(vec![3])));
        assert_eq!(set(Affinity::Group(0)), Ok(Some(vec![0, 2])));
        assert_eq!(set(Affinity::Group(1)), Ok(Some(vec![3])));
    }

    #[test]
    fn units_and_groups_that_are_not_there_are_refused() {
        let (units, groups) = (4, 2);
        let strict = |asked| HandlerError::NoUnit { asked, units };
        assert_eq!(set(Affinity::Strict(4)), Err(strict(4)));
        assert_eq!(set(Affinity::Strict(u32::MAX)), Err(strict(u32::MAX)));
        let group = HandlerError::NoGroup { asked: 2, groups };
        assert_eq!(set(Affinity::Group(2)), Err(group));
    }
}
