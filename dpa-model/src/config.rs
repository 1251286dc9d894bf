//! What a device is made of. Every figure can be set.

use std::time::Duration;

use thiserror::Error;

use crate::layout::FunctionSpec;

/// The figures of a device. The default is what a BlueField-3 reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The device's name, as `Dpa::devices()` lists it.
    pub name: String,
    /// Cores.
    pub cores: u32,
    /// Execution units (EUs, hardware threads) of each core.
    pub eus_per_core: u32,
    /// EUs that the device's own system keeps.
    pub reserved_eus: u32,
    /// EUs usable in the default partition.
    pub partition_eus: u32,
    /// Groups of execution units that handlers may be bound to: the units of each.
    pub eu_groups: Vec<u32>,
    /// Its functions and their partitions. Empty: one function, `pf0`, with `partition_eus` units and the groups above. With
    /// functions, `partition_eus` and `eu_groups` say nothing.
    pub functions: Vec<FunctionSpec>,
    /// OS threads that run the units. 0: as many as the machine has cores.
    pub workers: usize,
    /// Bytes of a kernel's stack; rounded up to whole pages.
    pub stack_bytes: usize,
    /// Bytes of each process's heap (reserved address space; memory is taken when it is touched).
    pub heap_bytes: usize,
    /// Processes that may be open on one function at a time.
    pub max_contexts: usize,
    /// Execution units that one process may have at a time. `None`: all of its partition.
    pub max_units: Option<u32>,
    /// Launches, calls and steps of one process that may be unfinished at a time.
    pub max_unfinished: usize,
    /// Sync events that one process may have at a time.
    pub max_events: usize,
    /// Queues that one process may have at a time: completion queues, receive queues, and queue pairs with their send queues.
    pub max_queues: usize,
    /// Regions that one process may have registered at a time.
    pub max_regions: usize,
    /// CPU time a kernel may take between two safe points. `None`: no limit.
    pub run_time_limit: Option<Duration>,
    /// How long an idle worker looks for work before it parks.
    pub spin: Duration,
    /// How long a deadlock must stand before it is reported. The seeded driver does not wait when nothing else can happen.
    pub deadlock_grace: Duration,
}

impl DeviceConfig {
    /// The least stack of a kernel, in bytes.
    pub const MIN_STACK: usize = 32 * 1024;

    /// Checks the figures against each other.
    ///
    /// # Errors
    /// The figure that is out of its range, and the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        range("cores", u64::from(self.cores), 1, 1 << 10)?;
        range("eus_per_core", u64::from(self.eus_per_core), 1, 1 << 10)?;
        let total = u64::from(self.total_eus());
        range("reserved_eus", u64::from(self.reserved_eus), 0, total - 1)?;
        let usable = u64::from(self.usable_eus());
        range("partition_eus", u64::from(self.partition_eus), 1, usable)?;
        for &units in &self.eu_groups {
            range(
                "units of a group",
                units.into(),
                1,
                self.partition_eus.into(),
            )?;
        }
        range("workers", self.workers as u64, 0, 1024)?;
        range(
            "stack_bytes",
            self.stack_bytes as u64,
            Self::MIN_STACK as u64,
            64 << 20,
        )?;
        range("heap_bytes", self.heap_bytes as u64, 4096, 1 << 40)?;
        range("max_contexts", self.max_contexts as u64, 1, 1 << 16)?;
        let units = self.max_units.unwrap_or(1);
        range("max_units", units.into(), 1, usable)?;
        range(
            "max_unfinished",
            self.max_unfinished as u64,
            1,
            u64::from(u32::MAX),
        )?;
        range("max_events", self.max_events as u64, 1, 1 << 24)?;
        range("max_queues", self.max_queues as u64, 1, 1 << 24)?;
        range("max_regions", self.max_regions as u64, 1, 1 << 24)?;
        let spin = u64::try_from(self.spin.as_millis()).unwrap_or(u64::MAX);
        range("spin, in milliseconds,", spin, 0, 60_000)
    }

    /// On a device with fewer units than the default partition has, that is all of them.
    pub fn with_default_partition_that_fits(mut self) -> Self {
        self.partition_eus = self.partition_eus.min(self.usable_eus());
        self
    }

    /// EUs that programs can use, in all partitions.
    pub fn usable_eus(&self) -> u32 {
        self.total_eus().saturating_sub(self.reserved_eus)
    }

    /// EUs of the whole device.
    pub fn total_eus(&self) -> u32 {
        self.cores.saturating_mul(self.eus_per_core)
    }
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            name: "dpa0".into(),
            cores: 16,
            eus_per_core: 16,
            reserved_eus: 2,
            partition_eus: 190,
            eu_groups: Vec::new(),
            functions: Vec::new(),
            workers: 0,
            stack_bytes: 128 * 1024,
            heap_bytes: 256 << 20,
            max_contexts: 256,
            max_units: None,
            max_unfinished: 1 << 20,
            max_events: 1 << 20,
            max_queues: 1 << 15,
            max_regions: 1 << 15,
            run_time_limit: Some(Duration::from_secs(12)),
            spin: Duration::from_micros(50),
            deadlock_grace: Duration::from_secs(1),
        }
    }
}

fn range(what: &'static str, asked: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&asked) {
        Ok(())
    } else {
        Err(ConfigError {
            what,
            asked,
            min,
            max,
        })
    }
}

/// A figure of the configuration is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("device configuration: {what} is {asked}, allowed are {min} to {max}")]
pub struct ConfigError {
    /// Which figure.
    pub what: &'static str,
    /// What was asked for.
    pub asked: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules 2.1, 2.9 and 2.10.
    #[test]
    fn the_defaults_are_the_figures_that_the_rules_name() {
        let config = DeviceConfig::default();
        assert_eq!(config.max_unfinished, 1 << 20);
        assert_eq!(config.run_time_limit, Some(Duration::from_secs(12)));
        assert_eq!(config.deadlock_grace, Duration::from_secs(1));
    }
}
