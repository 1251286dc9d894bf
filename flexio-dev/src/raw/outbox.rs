//! Doorbells by number, through the thread's outbox.

use dpa_abi::queue::bell::{OutboxHandle, Ring, RingError};

use crate::context::ThreadContext;

impl ThreadContext<'_> {
    /// From now on the doorbells of this thread go through this outbox. A thread, and each activation of a handler,
    /// begins with the default one.
    ///
    /// # Errors
    /// It is none of the process's, or is closed: the one before stays.
    #[doc(alias = "flexio_dev_outbox_config")]
    #[doc(alias = "flexio_dev_outbox_config_fast")]
    pub fn outbox_config(&self, outbox: OutboxHandle) -> Result<(), RingError> {
        self.noting(self.unit().ring(outbox, Ring::Check))?;
        self.outbox().set(outbox);
        Ok(())
    }

    /// Tells the NIC that the entries of this send queue below `pi` are there. What this thread wrote before is visible
    /// to it. The NIC keeps the lower 16 bits of the index; one that is not ahead of the last says nothing new.
    ///
    /// # Errors
    /// The process has no send queue with this number; the index is further ahead than the queue has entries; the
    /// thread's outbox is closed. Nothing was done.
    #[doc(alias = "flexio_dev_qp_sq_ring_db")]
    pub fn qp_sq_ring_db(&self, pi: u64, qnum: u32) -> Result<(), RingError> {
        self.memory_writeback();
        self.qp_sq_ring_db_unfenced(pi, qnum)
    }

    /// As [`ThreadContext::qp_sq_ring_db`], without the writeback.
    pub(super) fn qp_sq_ring_db_unfenced(&self, pi: u64, qnum: u32) -> Result<(), RingError> {
        self.ring(Ring::Send {
            number: qnum,
            producer: pi as u16,
        })
    }

    /// Asks for one notification when there is more in this completion queue than its first `ci` entries: its handler is
    /// triggered, or the host's task woken. If there is more already, at once.
    ///
    /// # Errors
    /// The process has no completion queue with this number; so many entries were never written; the thread's outbox is
    /// closed. Nothing was done.
    #[doc(alias = "flexio_dev_cq_arm")]
    pub fn cq_arm(&self, ci: u64, cqn: u32) -> Result<(), RingError> {
        self.memory_writeback();
        self.ring(Ring::Arm {
            number: cqn,
            consumer: ci,
        })
    }

    /// Has the NIC write a completion of nothing into this completion queue, and tell whoever has asked for a
    /// notification. It takes a slot like any other.
    ///
    /// # Errors
    /// The process has no completion queue with this number; the thread's outbox is closed. Nothing was done.
    #[doc(alias = "flexio_dev_zcqe_gen")]
    pub fn zcqe_gen(&self, cqn: u32) -> Result<(), RingError> {
        self.ring(Ring::Dummy { number: cqn })
    }

    fn ring(&self, ring: Ring) -> Result<(), RingError> {
        self.noting(self.unit().ring(self.outbox().get(), ring))
    }
}
