//! The functions of an open device, their partitions, and who has opened something on them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;

use crate::affinity::Affinities;
use crate::config::DeviceConfig;
use crate::device::Device;
use crate::layout::{
    FunctionKind, FunctionSpec, GroupSpec, LayoutError, PartitionSpec, UnitSet, check,
};

/// The name of the one function of a device without a layout.
pub const ONLY: &str = "pf0";

/// Why a function could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FunctionError {
    /// There is none of this name.
    #[error("there is no function `{asked}`; there are {}", .known.join(", "))]
    Unknown {
        /// The name asked for.
        asked: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It has no partition.
    #[error(
        "function `{function}` has no partition: no execution unit of the device is its, so nothing can be opened on it"
    )]
    NoPartition {
        /// Its name.
        function: String,
    },
    /// Its NIC has no address.
    #[error("function `{function}` has no address, so nothing can be sent by its NIC")]
    NoAddress {
        /// Its name.
        function: String,
    },
    /// Contexts are open on it.
    #[error("function `{function}` cannot be changed: {open} contexts are open on it")]
    Busy {
        /// Its name.
        function: String,
        /// How many.
        open: usize,
    },
    /// As many contexts are open on it as may be.
    #[error("function `{function}` has {limit} contexts open, as many as it may have")]
    Full {
        /// Its name.
        function: String,
        /// How many there may be.
        limit: usize,
    },
    /// Contexts were opened on it as often as the device can number them.
    #[error(
        "function `{function}` has no number left for a context: the device must be opened anew"
    )]
    UsedUp {
        /// Its name.
        function: String,
    },
    /// The new layout would be wrong.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// A function, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: FunctionKind,
    /// The address of its NIC, if it has one.
    pub address: Option<IpAddr>,
    /// The units it may use, and their groups.
    pub partition: Option<PartitionSpec>,
    /// Contexts that are open on it.
    pub open: usize,
}

/// The units of a function, in use.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Its place in the scheduler.
    pub(crate) index: usize,
    pub(crate) units: u32,
    pub(crate) groups: Vec<GroupSpec>,
    pub(crate) affinities: Affinities,
}

#[derive(Debug)]
struct Function {
    spec: FunctionSpec,
    partition: Option<Arc<Partition>>,
    open: usize,
}

/// The functions of a device.
#[derive(Debug)]
pub(crate) struct Functions {
    all: Mutex<Vec<Function>>,
    usable: u32,
}

/// What a process has of the function it is opened on.
#[derive(Debug)]
pub(crate) struct Tenancy {
    device: Arc<Device>,
    pub(crate) function: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) partition: Arc<Partition>,
    left: AtomicBool,
}

impl Tenancy {
    /// The process has no units of the function any more, and will have none.
    pub(crate) fn leave(&self) {
        if self.left.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut all = self.device.functions.all.lock();
        if let Some(function) = all.iter_mut().find(|f| f.spec.name == self.function) {
            function.open -= 1;
        }
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The layout of a device whose figures name none: one function with all units.
fn only(config: &DeviceConfig) -> FunctionSpec {
    let group = |&size: &u32| GroupSpec {
        name: String::new(),
        units: (0..size).collect(),
    };
    FunctionSpec {
        name: ONLY.into(),
        kind: FunctionKind::Physical,
        address: None,
        partition: Some(PartitionSpec {
            units: (0..config.partition_eus).collect(),
            groups: config.eu_groups.iter().map(group).collect(),
        }),
    }
}

fn in_use(index: usize, spec: &PartitionSpec) -> Arc<Partition> {
    let groups = spec.groups.iter();
    let sets: Vec<UnitSet> = groups.map(|group| group.units.clone()).collect();
    Arc::new(Partition {
        index,
        units: spec.units.len(),
        groups: spec.groups.clone(),
        affinities: Affinities::new(spec.units.len(), &sets),
    })
}

impl Functions {
    /// Those of a device of these figures, which were checked; and the units of each, for the scheduler.
    pub(crate) fn new(config: &DeviceConfig) -> (Self, Vec<u32>) {
        let specs = match config.functions.is_empty() {
            true => vec![only(config)],
            false => config.functions.clone(),
        };
        let units = |spec: &FunctionSpec| spec.partition.as_ref().map_or(0, |p| p.units.len());
        let counts = specs.iter().map(units).collect();
        let all = specs.into_iter().enumerate().map(|(index, spec)| Function {
            partition: spec.partition.as_ref().map(|spec| in_use(index, spec)),
            spec,
            open: 0,
        });
        let functions = Self {
            all: Mutex::new(all.collect()),
            usable: config.usable_eus(),
        };
        (functions, counts)
    }

    fn find<'a>(
        all: &'a mut MutexGuard<'_, Vec<Function>>,
        asked: Option<&str>,
    ) -> Result<(usize, &'a mut Function), FunctionError> {
        let found = match asked {
            None => Some(0),
            Some(name) => all.iter().position(|f| f.spec.name == name),
        };
        match found {
            Some(at) => Ok((at, &mut all[at])),
            None => Err(FunctionError::Unknown {
                asked: asked.unwrap_or_default().into(),
                known: all.iter().map(|f| f.spec.name.clone()).collect(),
            }),
        }
    }
}

impl Device {
    /// The functions, in the order of the layout.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        let all = self.functions.all.lock();
        let info = |f: &Function| FunctionInfo {
            name: f.spec.name.clone(),
            kind: f.spec.kind,
            address: f.spec.address,
            partition: f.spec.partition.clone(),
            open: f.open,
        };
        all.iter().map(info).collect()
    }

    /// A place on a function for a process; the first function, if none is named.
    pub(crate) fn settle_on(
        self: &Arc<Self>,
        function: Option<&str>,
    ) -> Result<Tenancy, FunctionError> {
        let mut all = self.functions.all.lock();
        let (_, function) = Functions::find(&mut all, function)?;
        let Some(partition) = function.partition.clone() else {
            return Err(FunctionError::NoPartition {
                function: function.spec.name.clone(),
            });
        };
        let limit = self.config.max_contexts;
        if function.open >= limit {
            return Err(FunctionError::Full {
                function: function.spec.name.clone(),
                limit,
            });
        }
        function.open += 1;
        Ok(Tenancy {
            device: self.clone(),
            function: function.spec.name.clone(),
            address: function.spec.address,
            partition,
            left: AtomicBool::new(false),
        })
    }

    /// The address of the NIC of a function.
    ///
    /// # Errors
    /// There is no such function; it has no address.
    pub fn address_of(&self, function: &str) -> Result<IpAddr, FunctionError> {
        let mut all = self.functions.all.lock();
        let (_, found) = Functions::find(&mut all, Some(function))?;
        found.spec.address.ok_or_else(|| FunctionError::NoAddress {
            function: function.into(),
        })
    }

    /// Gives a function other units and groups; none: takes its partition away.
    ///
    /// # Errors
    /// There is no such function; contexts are open on it; the layout would be wrong: nothing has changed then.
    pub fn resize(
        &self,
        function: &str,
        partition: Option<PartitionSpec>,
    ) -> Result<(), FunctionError> {
        let mut all = self.functions.all.lock();
        let (at, found) = Functions::find(&mut all, Some(function))?;
        if found.open > 0 {
            return Err(FunctionError::Busy {
                function: function.into(),
                open: found.open,
            });
        }
        let mut specs: Vec<FunctionSpec> = all.iter().map(|f| f.spec.clone()).collect();
        specs[at].partition = partition;
        check(&specs, self.functions.usable)?;
        let found = &mut all[at];
        found.spec = specs.swap_remove(at);
        found.partition = found.spec.partition.as_ref().map(|spec| in_use(at, spec));
        let units = found.partition.as_ref().map_or(0, |p| p.units);
        // Nothing of it runs, so all its units are free.
        self.sched.resize(at, units);
        Ok(())
    }
}
