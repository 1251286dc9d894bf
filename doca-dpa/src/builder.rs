//! Opening a device with other figures than the default's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dpa_abi::LogFilter;
use flexio::{
    CrashFiles, Device, DeviceConfig, DeviceFileError, FunctionSpec, OpenError, ProcessSpec,
    device_file,
};

use crate::dpa::Dpa;
use crate::error::{DpaOpenError, Error};

/// The figures of a device to be opened, and of a context on it. Each figure of the device has the default of a
/// BlueField-3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a builder opens nothing until `open`"]
pub struct Builder {
    config: DeviceConfig,
    process: ProcessSpec,
    /// What is wrong with the device file, to be said when it is opened.
    refused: Option<DeviceFileError>,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {
        impl Builder {$(
            $(#[$doc])*
            pub fn $name(mut self, $name: $t) -> Self {
                self.config.$name = $name;
                self
            }
        )*}
    };
}

figures! {
    /// Cores. Default 16.
    cores: u32;
    /// Execution units of each core. Default 16.
    eus_per_core: u32;
    /// Execution units that the device's own system keeps. Default 2.
    reserved_eus: u32;
    /// Execution units that launches can use. Default 190.
    partition_eus: u32;
    /// OS threads that run the units. Default 0: as many as the machine has cores.
    workers: usize;
    /// Bytes of a kernel's stack, at least 32 KiB. Default 128 KiB.
    stack_bytes: usize;
    /// Bytes of each context's heap. Default 256 MiB of address space; memory is taken when it is touched.
    heap_bytes: usize;
    /// Contexts that may be open on one function of the device at a time. Default 256.
    max_contexts: usize;
    /// Launches, calls and steps that may be unfinished at a time. Default 2^20.
    max_unfinished: usize;
    /// Sync events that may exist at a time. Default 2^20.
    max_events: usize;
    /// Queues that may exist at a time: completion queues, receive queues, and queue pairs with their send queues. A
    /// connection is one, a context's receives are one, a queue of asynchronous operations is two. Default 2^15.
    max_queues: usize;
    /// Regions that may be registered at a time: memory maps and exported events. Default 2^15.
    max_regions: usize;
    /// CPU time that a kernel may take between two safe points; `None`: no limit. Default 12 s. Simulations have no such
    /// limit: one waits for a kernel without safe points as long as that runs.
    run_time_limit: Option<Duration>;
    /// How long an idle worker looks for work before it parks. Default 50 us.
    spin: Duration;
    /// How long a deadlock must stand before it is reported. Default 1 s. A simulation does not wait when nothing else can happen.
    deadlock_grace: Duration;
}

impl Builder {
    /// Execution units that each context may have at a time: more threads of one launch are refused, others wait until threads of
    /// the same context return. Default: all of its function's partition, which its contexts share.
    pub fn max_units(mut self, units: u32) -> Self {
        self.config.max_units = Some(units);
        self
    }

    /// Groups of execution units that DPA threads may be bound to: the units of each. Default: none.
    pub fn eu_groups(mut self, units: impl IntoIterator<Item = u32>) -> Self {
        self.config.eu_groups = units.into_iter().collect();
        self
    }

    /// The functions of the device, with the addresses of their NICs and their partitions. Default: one, `pf0`, with the execution
    /// units of [`Builder::partition_eus`] and the groups of [`Builder::eu_groups`], which say nothing where this is set.
    pub fn functions(mut self, functions: impl IntoIterator<Item = FunctionSpec>) -> Self {
        self.config.functions = functions.into_iter().collect();
        self
    }

    /// The function that the context is opened on. Default: the first.
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.process.function = Some(name.into());
        self
    }

    /// Takes the figures of the device, its functions and their partitions from this file (`docs/device-file.md`), instead of
    /// what was set before. What is wrong with it, [`Builder::open`] says.
    pub fn device_file(mut self, path: impl AsRef<Path>) -> Self {
        match device_file::read(path.as_ref()) {
            Ok(config) => (self.config, self.refused) = (config, None),
            Err(error) => self.refused = Some(error),
        }
        self
    }

    /// With the device file that the environment names, if it names one.
    pub(crate) fn of_environment() -> Self {
        let builder = Self::default();
        match std::env::var_os(device_file::VARIABLE) {
            Some(path) if !path.is_empty() => builder.device_file(PathBuf::from(path)),
            _ => builder,
        }
    }

    /// What the log lets through: a [`LogLevel`](crate::LogLevel) and what is more important, or nothing
    /// ([`LogFilter::Off`]). Default [`LogFilter::Info`]. It stays as it is while the context is open.
    #[doc(alias = "doca_dpa_set_log_level")]
    pub fn log_level(mut self, level: impl Into<LogFilter>) -> Self {
        self.process.log.stream.level = level.into();
        self
    }

    /// Appends the log to this file. Default: it goes to `tracing`, target `doca_dpa::kernel`.
    #[doc(alias = "doca_dpa_log_file_set_path")]
    pub fn log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.process.log.file = Some(path.into());
        self
    }

    /// Writes trace records to this file, from its beginning. Default: they go to `tracing` at level TRACE, target
    /// `doca_dpa::trace`. While another context writes its trace to the file, [`Builder::open`] waits for a second and then refuses.
    #[doc(alias = "doca_dpa_trace_file_set_path")]
    pub fn trace_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.process.trace.file = Some(path.into());
        self
    }

    /// Trace records that are buffered before they are sent: 1 to 2^20, default 1,024.
    pub fn trace_records(mut self, records: usize) -> Self {
        self.process.trace.records = records;
        self
    }

    /// Should the context become fatal, writes a crash report to files whose names begin so: `.PID.crash` and
    /// `.PID.core` are appended, and a number before that if there is such a file already. In a directory they are
    /// called `doca_dpa_fatal`. Default: what the environment variable `DPA_CRASH_PATH` says, and no report if it is
    /// not set.
    #[doc(alias = "flexio_coredump_create")]
    #[doc(alias = "flexio_crash_data")]
    pub fn crash_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.process.crash.files = CrashFiles::At(path.into());
        self
    }

    /// Writes no crash report, whatever the environment says.
    pub fn no_crash_report(mut self) -> Self {
        self.process.crash.files = CrashFiles::Off;
        self
    }

    /// Bytes that the core file of a crash report has at most; what is beyond is left out. Below 64 KiB no core is
    /// written, only the text. Default 64 MiB.
    pub fn crash_core_bytes(mut self, bytes: u64) -> Self {
        self.process.crash.core_bytes = bytes;
        self
    }

    /// Opens the device, and a context on it.
    ///
    /// # Errors
    /// A figure is out of its range; the device file is wrong; there is no such function, or it has no partition; the system
    /// gives no memory or threads; the log or the trace file cannot be opened: the error says which, and why.
    pub fn open(self) -> Result<Dpa, Error> {
        self.open_with(Device::open)
    }

    /// As [`Builder::open`], with the device that `open` gives.
    pub(crate) fn open_with(
        self,
        open: impl FnOnce(DeviceConfig) -> Result<Device, OpenError>,
    ) -> Result<Dpa, Error> {
        let (config, process) = self.into_parts().map_err(DpaOpenError)?;
        let device = open(config).map_err(DpaOpenError)?;
        Ok(Dpa::on(&device, &process).map_err(DpaOpenError)?)
    }

    pub(crate) fn into_parts(self) -> Result<(DeviceConfig, ProcessSpec), OpenError> {
        match self.refused {
            Some(error) => Err(error.into()),
            None => Ok((self.config, self.process)),
        }
    }
}
