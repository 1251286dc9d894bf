//! What a worker gives back.

use crate::launch::Launch;

/// Units that a worker gives back, and steps that are over.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Whose.
    pub proc: u32,
    /// How many units.
    pub units: u32,
    /// How many steps.
    pub steps: u32,
}

impl Release {
    /// So many units.
    #[inline]
    pub fn units(proc: u32, units: u32) -> Self {
        let steps = 0;
        Self { proc, units, steps }
    }

    /// A step.
    #[inline]
    pub fn step(proc: u32) -> Self {
        let (units, steps) = (0, 1);
        Self { proc, units, steps }
    }

    /// All that this launch has taken.
    pub fn all_of(launch: &Launch) -> Self {
        match launch.units() {
            0 => Self::step(launch.proc),
            units => Self::units(launch.proc, units),
        }
    }
}
