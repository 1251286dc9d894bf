//! How many queues, regions and outboxes a process has, and how many it may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use crate::config::DeviceConfig;

/// Outboxes that a process may have at a time: one for each queue that it may have by default.
const MAX_OUTBOXES: usize = 1 << 15;

/// Pages for them that a process may have at a time: so many numbers are its own.
pub(crate) const MAX_PAGES: usize = 1 << 12;

/// A process has as many of something as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the context has {limit} {what}, as many as it may have")]
pub struct QuotaExceeded {
    /// Of what.
    pub what: &'static str,
    /// How many it may have.
    pub limit: usize,
}

#[derive(Debug)]
struct Quota {
    what: &'static str,
    limit: usize,
    used: AtomicUsize,
}

/// The quotas of a process.
#[derive(Debug)]
pub(crate) struct Quotas {
    queues: Arc<Quota>,
    regions: Arc<Quota>,
    outboxes: Arc<Quota>,
    pages: Arc<Quota>,
}

/// One of what a process may have. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share(Arc<Quota>);

impl Quotas {
    pub(crate) fn new(config: &DeviceConfig) -> Self {
        let of = |what, limit| {
            Arc::new(Quota {
                what,
                limit,
                used: AtomicUsize::new(0),
            })
        };
        Self {
            queues: of("queues", config.max_queues),
            regions: of("registered regions", config.max_regions),
            outboxes: of("outboxes", MAX_OUTBOXES),
            pages: of("doorbell pages", MAX_PAGES),
        }
    }

    /// How many queues it has.
    pub(crate) fn queues(&self) -> usize {
        self.queues.used.load(Ordering::Relaxed)
    }

    /// How many regions are registered.
    pub(crate) fn regions(&self) -> usize {
        self.regions.used.load(Ordering::Relaxed)
    }

    /// A completion queue, a receive queue, or a queue pair with its send queue.
    pub(crate) fn queue(&self) -> Result<Share, QuotaExceeded> {
        take(&self.queues)
    }

    /// A registered region.
    pub(crate) fn region(&self) -> Result<Share, QuotaExceeded> {
        take(&self.regions)
    }

    /// An outbox.
    pub(crate) fn outbox(&self) -> Result<Share, QuotaExceeded> {
        take(&self.outboxes)
    }

    /// A page for outboxes to write to.
    pub(crate) fn page(&self) -> Result<Share, QuotaExceeded> {
        take(&self.pages)
    }
}

fn take(quota: &Arc<Quota>) -> Result<Share, QuotaExceeded> {
    let Quota { what, limit, .. } = **quota;
    let more = |used| (used < limit).then_some(used + 1);
    quota
        .used
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .map_err(|_| QuotaExceeded { what, limit })?;
    Ok(Share(quota.clone()))
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}
