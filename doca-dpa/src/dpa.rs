//! The context: an application on a device.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dpa_abi::{IntoArgs, Kernel};
use flexio::{
    CrashFiles, Device, DeviceInfo, ErrorStatus, Fate, Fault, HeapInfo, OpenError, Process,
    ProcessRef, ProcessSpec, Snapshot, VirtualNetwork,
};

use crate::args;
use crate::builder::Builder;
use crate::error::{DpaOpenError, Error, OnErrorError};
use crate::event::SyncEvent;
use crate::launch::{LaunchBuilder, boxed};
use crate::stream::Stream;
use crate::turn::turn;

/// An application on a device: its kernels, events and memory. One process of the device.
///
/// Clones are the same context, and only they keep it open: when the last is dropped the context is shut down without
/// waiting, parked launches are dropped, running kernels stop at their next safe point, and every wait resolves as
/// closed. Events, buffers and launches hold memory, not the context.
#[doc(alias = "doca_dpa")]
#[derive(Clone, Debug)]
pub struct Dpa {
    process: Process,
}

impl Dpa {
    /// Opens the default device; with the figures, functions and partitions of a device file, if the environment variable
    /// `DPA_DEVICE` names one (`docs/device-file.md`).
    ///
    /// # Errors
    /// The device file that `DPA_DEVICE` names is wrong, or its first function has no partition; the system gives no memory or
    /// threads.
    #[doc(alias = "doca_dpa_create")]
    #[doc(alias = "doca_dpa_start")]
    pub fn open() -> Result<Self, Error> {
        Self::builder().open()
    }

    /// To open a device with other figures. It begins with those of the device file that `DPA_DEVICE` names, if it does.
    pub fn builder() -> Builder {
        Builder::of_environment()
    }

    /// The devices that can be opened.
    #[doc(alias = "doca_dpa_cap_is_supported")]
    pub fn devices() -> Vec<DeviceInfo> {
        Device::list()
    }

    /// Another context on the same device: another process, with memory, events and faults of its own. Its log and its
    /// trace go to `tracing`, its crash report beside this context's.
    ///
    /// # Errors
    /// As many contexts are open on the function as may be, or were opened on it as often as there are numbers; the system gives no
    /// memory.
    pub fn open_beside(&self) -> Result<Self, Error> {
        self.open_on(self.function())
    }

    /// As [`Dpa::open_beside`], on another function of the device: with the units of its partition.
    ///
    /// # Errors
    /// There is no such function, or it has no partition; as [`Dpa::open_beside`].
    pub fn open_on(&self, function: &str) -> Result<Self, Error> {
        let spec = ProcessSpec {
            function: Some(function.into()),
            crash: self.process.crash_spec(),
            ..ProcessSpec::default()
        };
        let beside = Self::on(self.device(), &spec);
        Ok(beside.map_err(DpaOpenError)?)
    }

    /// Opens another device, and a context on it: as [`Builder::open`]. In a simulation it is one more of that: it has its own execution
    /// units, functions and NICs, and shares the virtual time, the network and the seed. So a program that opens all its devices but
    /// the first with this runs unchanged in a [`Sim`](crate::Sim).
    ///
    /// ```
    /// # use doca_dpa::{Dpa, Error, Sim};
    /// # let run = Sim::new(1).run(async |dpa: Dpa| {
    /// let small = dpa.open_device(Dpa::builder().partition_eus(8))?;
    /// assert_eq!(small.device().config().partition_eus, 8);
    /// assert_eq!(small.now(), dpa.now());
    /// # Ok::<_, Error>(())
    /// # });
    /// # run.expect("ends").value.expect("opens");
    /// ```
    ///
    /// # Errors
    /// As [`Builder::open`]; in a simulation, if another thread than that of its program asks, or the program is over.
    pub fn open_device(&self, device: Builder) -> Result<Self, Error> {
        device.open_with(|config| self.device().open_beside(config))
    }

    /// The virtual network of a simulation; `None` outside of a [`Sim`](crate::Sim).
    pub fn network(&self) -> Option<VirtualNetwork> {
        self.device().network()
    }

    /// What goes wrong in a simulation because it is asked to; `None` outside of a [`Sim`](crate::Sim).
    pub fn fate(&self) -> Option<Fate> {
        self.device().fate()
    }

    pub(crate) fn on(device: &Device, spec: &ProcessSpec) -> Result<Self, OpenError> {
        let process = device.process_with(spec)?;
        Ok(Self { process })
    }

    pub(crate) fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// The low layer's device.
    pub fn device(&self) -> &Device {
        self.process.device()
    }

    /// Begins a launch.
    #[doc(alias = "doca_dpa_kernel_launch_update_add")]
    #[doc(alias = "doca_dpa_kernel_launch_update_set")]
    pub fn launch<K: Kernel>(&self, kernel: K) -> LaunchBuilder<K, K::Given> {
        LaunchBuilder::new(self.process().clone(), kernel)
    }

    /// A stream: launches, copies and fills that run one after the other, without hand-numbered events.
    pub fn stream(&self) -> Stream {
        Stream::new(self.process().clone())
    }

    /// Cancels what is parked at an event, and what is parked at the events those would have updated, and so on. How
    /// many launches were cancelled.
    pub fn cancel_chain(&self, event: &SyncEvent) -> usize {
        if event.belongs_to(self.process()) {
            self.process.cancel_chain(event.handle())
        } else {
            0
        }
    }

    /// Waits until everything submitted is over, however it ended.
    ///
    /// Cancel safety: nothing is lost; ask again.
    pub async fn wait_idle(&self) {
        turn(self.process()).await;
        self.process.idle().await;
    }

    /// As [`Dpa::wait_idle`], blocking this thread. False under a simulation in which nothing is left to run.
    pub fn wait_idle_blocking(&self) -> bool {
        crate::time::block(self.device(), |cx| self.process.poll_idle(cx)).is_some()
    }

    /// Why the context is fatal, if it is. Looking does not clear it. Says where the crash report is, once it is
    /// written ([`Fault::crash_report`]).
    #[doc(alias = "doca_dpa_peek_at_last_error")]
    pub fn last_error(&self) -> Option<Arc<Fault>> {
        self.process.fault()
    }

    /// Waits until the context is fatal: why. `None` if it was closed instead.
    ///
    /// Cancel safety: nothing is lost; ask again.
    #[doc(alias = "flexio_err_handler_fd")]
    pub async fn failed(&self) -> Option<Arc<Fault>> {
        self.process.failed().await
    }

    /// Whether something went wrong: nothing, a fault, or a kernel that ended the context itself.
    #[doc(alias = "flexio_err_status_get")]
    pub fn error_status(&self) -> ErrorStatus {
        self.process.error_status()
    }

    /// The kernel that runs, once, on the thread that makes the context fatal, before everything else is stopped: to say
    /// so, to leave things tidy. It may do all that kernels may but wait, and what it does wrong itself ends it and nothing
    /// else. What its arguments refer to is kept alive meanwhile.
    ///
    /// It does not run where no stack is left for it: after a stack overflow, or when a kernel is stopped for its run
    /// time, for a stray access below the language, or for a panic that nothing can catch; nor for a deadlock, nor when a kernel ends the
    /// context by `process_finish`.
    ///
    /// # Errors
    /// There is one already; something among the arguments belongs to another context; the context is closed or faulted.
    #[doc(alias = "flexio_process_error_handler_set")]
    pub fn on_error<K: Kernel, A: IntoArgs<K::Args>>(
        &self,
        kernel: K,
        args: A,
    ) -> Result<(), OnErrorError> {
        let ((wire, kept), foreign) = args::pack(&self.process, || args.into_args());
        if foreign {
            let kernel = kernel.entry().name;
            return Err(OnErrorError::Foreign { kernel });
        }
        let keep = boxed(kept);
        Ok(self.process.set_error_handler(kernel.entry(), wire, keep)?)
    }

    /// The figures of the heap: its size, what is asked for, what is taken.
    #[doc(alias = "flexio_process_mem_info_get")]
    pub fn memory_info(&self) -> HeapInfo {
        self.process.memory_info()
    }

    /// What the names of its crash report's files begin with, should it become fatal; `None`: none are written.
    pub fn crash_path(&self) -> Option<PathBuf> {
        match self.process.crash_spec().files {
            CrashFiles::At(prefix) => Some(prefix),
            _ => None,
        }
    }

    /// What the context is doing now.
    pub fn snapshot(&self) -> Snapshot {
        self.process.snapshot()
    }

    /// Device time since the device was opened. In a simulation it is virtual, and counts from where that began.
    pub fn now(&self) -> Duration {
        self.device().now()
    }

    /// Threads that one launch may have.
    #[doc(alias = "doca_dpa_get_max_threads_per_kernel")]
    pub fn max_threads_per_kernel(&self) -> u32 {
        self.process.units()
    }

    /// CPU time that a kernel may take between two safe points; `None`: no limit.
    #[doc(alias = "doca_dpa_get_kernel_max_run_time")]
    pub fn kernel_max_run_time(&self) -> Option<Duration> {
        self.device().config().run_time_limit
    }

    /// Cores of the device.
    #[doc(alias = "doca_dpa_get_core_num")]
    pub fn cores(&self) -> u32 {
        self.device().config().cores
    }

    /// Execution units of each core.
    #[doc(alias = "doca_dpa_get_num_eus_per_core")]
    pub fn eus_per_core(&self) -> u32 {
        self.device().config().eus_per_core
    }

    /// Execution units that launches of this context can use at a time.
    #[doc(alias = "doca_dpa_get_total_num_eus_available")]
    pub fn eus_available(&self) -> u32 {
        self.process.units()
    }
}
