//! The layout of a device: its functions, and the execution units that each may use.
//!
//! A *function* is what a program opens: a physical function, a virtual one, a subfunction. A *partition* is the set of execution
//! units that a function may use. Inside a partition units are numbered from 0 in ascending order of their numbers on the device.
//! A *group* is a named set of units of one partition, which handlers may be bound to.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::config::ConfigError;

/// Functions that a device may have.
pub const MAX_FUNCTIONS: usize = 32;
/// Partitions that a device may have.
pub const MAX_PARTITIONS: usize = 15;
/// Groups that a partition may have.
pub const MAX_GROUPS: usize = 15;
/// Characters of a name.
pub const MAX_NAME: usize = 15;

/// A set of execution units, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnitSet(Vec<u32>);

impl UnitSet {
    /// Their numbers, ascending.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// How many they are.
    pub fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A unit that is in both.
    fn shared_with(&self, other: &Self) -> Option<u32> {
        let shared = self
            .0
            .iter()
            .find(|unit| other.0.binary_search(unit).is_ok());
        shared.copied()
    }
}

impl FromIterator<u32> for UnitSet {
    fn from_iter<I: IntoIterator<Item = u32>>(units: I) -> Self {
        let units: BTreeSet<u32> = units.into_iter().collect();
        Self(units.into_iter().collect())
    }
}

impl From<RangeInclusive<u32>> for UnitSet {
    /// Of units beyond 65535, which no device has, the first is in it: so a partition of them is refused.
    fn from(units: RangeInclusive<u32>) -> Self {
        let (first, last) = units.into_inner();
        let beyond = u32::from(u16::MAX) + 1;
        (first..=last.min(first.max(beyond))).collect()
    }
}

impl fmt::Display for UnitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for run in self.0.chunk_by(|a, b| a + 1 == *b) {
            match run {
                [one] => write!(f, "{separator}{one}")?,
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
                [] => {}
            }
            separator = ", ";
        }
        Ok(())
    }
}

/// Text that is no set of units.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no set of units: numbers below 65536 and ranges of them, as in `0-3, 8`, the smaller number first"
)]
pub struct NoUnitSet {
    /// What was written.
    pub text: String,
}

impl FromStr for UnitSet {
    type Err = NoUnitSet;

    fn from_str(text: &str) -> Result<Self, NoUnitSet> {
        let number = |part: &str| part.trim().parse::<u16>().ok().map(u32::from);
        let range = |part: &str| match part.split_once('-') {
            Some((first, last)) => Some(number(first)?..=number(last)?).filter(|r| !r.is_empty()),
            None => number(part).map(|unit| unit..=unit),
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        let ranges = ranges.ok_or_else(|| NoUnitSet { text: text.into() })?;
        Ok(ranges.into_iter().flatten().collect())
    }
}

/// What kind of function it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FunctionKind {
    /// A physical function.
    #[default]
    Physical,
    /// A virtual function.
    Virtual,
    /// A subfunction.
    Sub,
}

impl fmt::Display for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Physical => "physical function",
            Self::Virtual => "virtual function",
            Self::Sub => "subfunction",
        })
    }
}

/// A named set of units of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its name; may be empty, then it is known by its number only.
    pub name: String,
    /// Its units, by their numbers in the partition.
    pub units: UnitSet,
}

/// The units that a function may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSpec {
    /// The units, by their numbers on the device.
    pub units: UnitSet,
    /// Its groups, by number from 0.
    pub groups: Vec<GroupSpec>,
}

/// A function of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: FunctionKind,
    /// The address of its NIC.
    pub address: Option<IpAddr>,
    /// The units it may use. Without any nothing can be opened on it.
    pub partition: Option<PartitionSpec>,
}

impl FunctionSpec {
    /// A function without an address that may use these units of the device, and has no groups of them.
    pub fn with_units(name: impl Into<String>, kind: FunctionKind, units: UnitSet) -> Self {
        let partition = PartitionSpec {
            units,
            groups: Vec::new(),
        };
        Self {
            name: name.into(),
            kind,
            address: None,
            partition: Some(partition),
        }
    }
}

/// What is wrong with a layout.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// There are too many of something.
    #[error("there are {asked} {what}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        asked: usize,
        /// How many may be.
        max: usize,
    },
    /// A name is empty, too long, or has characters that names cannot have.
    #[error("`{name}` is no name of a {what}: 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two have one name.
    #[error("two {what} are named `{name}`")]
    Twice {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A set of units is empty.
    #[error("{whose} has no units")]
    NoUnits {
        /// Whose.
        whose: String,
    },
    /// There is no such unit.
    #[error("{whose} names unit {unit}, there are {units}, from 0")]
    NoUnit {
        /// Whose set names it.
        whose: String,
        /// The unit.
        unit: u32,
        /// How many there are.
        units: u32,
    },
    /// A unit is in two partitions.
    #[error("unit {unit} is in the partitions of `{one}` and of `{other}`")]
    Shared {
        /// The unit.
        unit: u32,
        /// One function.
        one: String,
        /// The other.
        other: String,
    },
}

/// What is wrong with a device file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeviceFileError {
    /// It cannot be read.
    #[error("the device file {} cannot be read: {why}", .path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// It is no TOML, or says something that device files do not.
    #[error("the device file {}: {why}", .path.display())]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// What is wrong, with line and column.
        why: String,
    },
    /// Its functions do not fit together.
    #[error("the device file {}, line {line}: {source}", .path.display())]
    Layout {
        /// Its path.
        path: PathBuf,
        /// The line of the function.
        line: usize,
        /// What is wrong.
        source: LayoutError,
    },
    /// A figure is out of its range.
    #[error("the device file {}{}: {source}", .path.display(), in_line(*.line))]
    Figure {
        /// Its path.
        path: PathBuf,
        /// The line that gives it; `None` if no line does by its name alone.
        line: Option<usize>,
        /// Which, and what is allowed.
        source: ConfigError,
    },
}

fn in_line(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}"))
        .unwrap_or_default()
}

/// Checks functions against each other and against the units of the device that programs may use.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(functions: &[FunctionSpec], usable: u32) -> Result<(), LayoutError> {
    let partitions = functions.iter().filter(|f| f.partition.is_some()).count();
    at_most("functions", functions.len(), MAX_FUNCTIONS)?;
    at_most("partitions", partitions, MAX_PARTITIONS)?;
    for (at, function) in functions.iter().enumerate() {
        named("function", &function.name)?;
        if functions[..at]
            .iter()
            .any(|other| other.name == function.name)
        {
            return Err(twice("functions", &function.name));
        }
        check_partition(function, usable)?;
        for other in &functions[..at] {
            check_disjoint(other, function)?;
        }
    }
    Ok(())
}

fn check_partition(function: &FunctionSpec, usable: u32) -> Result<(), LayoutError> {
    let Some(partition) = &function.partition else {
        return Ok(());
    };
    let whose = format!("the partition of `{}`", function.name);
    within(&whose, &partition.units, usable)?;
    at_most("groups", partition.groups.len(), MAX_GROUPS)?;
    for (at, group) in partition.groups.iter().enumerate() {
        if !group.name.is_empty() {
            named("group", &group.name)?;
            if partition.groups[..at]
                .iter()
                .any(|other| other.name == group.name)
            {
                return Err(twice("groups", &group.name));
            }
        }
        let whose = format!("group `{}` of `{}`", group.name, function.name);
        within(&whose, &group.units, partition.units.len())?;
    }
    Ok(())
}

fn check_disjoint(one: &FunctionSpec, other: &FunctionSpec) -> Result<(), LayoutError> {
    let (Some(mine), Some(theirs)) = (&one.partition, &other.partition) else {
        return Ok(());
    };
    match mine.units.shared_with(&theirs.units) {
        None => Ok(()),
        Some(unit) => Err(LayoutError::Shared {
            unit,
            one: one.name.clone(),
            other: other.name.clone(),
        }),
    }
}

fn at_most(what: &'static str, asked: usize, max: usize) -> Result<(), LayoutError> {
    match asked <= max {
        true => Ok(()),
        false => Err(LayoutError::TooMany { what, asked, max }),
    }
}

fn named(what: &'static str, name: &str) -> Result<(), LayoutError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(()),
        false => Err(LayoutError::Name {
            what,
            name: name.into(),
        }),
    }
}

fn twice(what: &'static str, name: &str) -> LayoutError {
    LayoutError::Twice {
        what,
        name: name.into(),
    }
}

fn within(whose: &str, set: &UnitSet, units: u32) -> Result<(), LayoutError> {
    let whose = || whose.to_owned();
    match set.numbers().last() {
        None => Err(LayoutError::NoUnits { whose: whose() }),
        Some(&unit) if unit >= units => Err(LayoutError::NoUnit {
            whose: whose(),
            unit,
            units,
        }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_it_is_written() {
        let set: UnitSet = "20-40, 7,8 , 3".parse().expect("a set");
        assert_eq!(set.to_string(), "3, 7-8, 20-40");
        assert_eq!(set.to_string().parse(), Ok(set));
        for wrong in ["", "4-2", "1-", "x", "1,,2", "70000", "-1"] {
            assert!(wrong.parse::<UnitSet>().is_err(), "{wrong}");
        }
    }
}
