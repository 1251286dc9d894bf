//! What the statuses of a device's completions mean.

use rdma_sys as sys;

use super::pair::retries;
use crate::config::Config;
use crate::work::WorkError;

/// What a status means.
#[inline]
pub(super) fn work_error(status: u32, config: &Config) -> Option<WorkError> {
    (status != sys::ibv_wc_status::IBV_WC_SUCCESS).then(|| failure(status, config))
}

#[cold]
fn failure(status: u32, config: &Config) -> WorkError {
    use sys::ibv_wc_status as s;
    let attempts = |limit| u32::from(retries(limit)) + 1;
    match status {
        s::IBV_WC_LOC_LEN_ERR => WorkError::LocalLength,
        s::IBV_WC_LOC_PROT_ERR | s::IBV_WC_LOC_ACCESS_ERR => WorkError::LocalProtection,
        s::IBV_WC_WR_FLUSH_ERR => WorkError::Flushed,
        s::IBV_WC_REM_INV_REQ_ERR => WorkError::RemoteInvalidRequest,
        s::IBV_WC_REM_ACCESS_ERR => WorkError::RemoteAccess,
        s::IBV_WC_REM_OP_ERR => WorkError::RemoteOperation,
        s::IBV_WC_RETRY_EXC_ERR => WorkError::RetriesExceeded {
            attempts: attempts(config.retries),
        },
        s::IBV_WC_RNR_RETRY_EXC_ERR => WorkError::RnrRetriesExceeded {
            attempts: attempts(config.rnr_retries),
        },
        status => WorkError::Device { status },
    }
}
