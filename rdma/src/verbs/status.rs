//! What the statuses of a device's completions mean.

use rdma_sys as sys;

use crate::config::{Config, RetryLimit};
use crate::work::WorkError;

/// The fields for retries have three bits; the most of that for receivers that are not ready is without end.
pub(super) const MOST_RETRIES: u8 = 7;

/// How often the device sends again, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retries {
    pub(super) unanswered: u8,
    pub(super) not_ready: u8,
}

impl Retries {
    /// What a configuration asks for, as far as a device can be told: no more than `most` without an answer.
    pub(super) fn of(config: &Config, most: u8) -> Self {
        let not_ready = match config.rnr_retries {
            RetryLimit::Forever => MOST_RETRIES,
            limit => times(limit).min(MOST_RETRIES - 1),
        };
        Self {
            unanswered: times(config.retries).min(most),
            not_ready,
        }
    }
}

fn times(limit: RetryLimit) -> u8 {
    match limit {
        RetryLimit::Times(times) => times.min(MOST_RETRIES.into()) as u8,
        RetryLimit::Forever => MOST_RETRIES,
    }
}

/// What a status means for who has sent again so often.
#[inline]
pub(super) fn work_error(status: u32, retries: Retries) -> Option<WorkError> {
    (status != sys::ibv_wc_status::IBV_WC_SUCCESS).then(|| failure(status, retries))
}

#[cold]
fn failure(status: u32, retries: Retries) -> WorkError {
    use sys::ibv_wc_status as s;
    let attempts = |retries| u32::from(retries) + 1;
    match status {
        s::IBV_WC_LOC_LEN_ERR => WorkError::LocalLength,
        s::IBV_WC_LOC_PROT_ERR | s::IBV_WC_LOC_ACCESS_ERR => WorkError::LocalProtection,
        s::IBV_WC_WR_FLUSH_ERR => WorkError::Flushed,
        s::IBV_WC_REM_INV_REQ_ERR => WorkError::RemoteInvalidRequest,
        s::IBV_WC_REM_ACCESS_ERR => WorkError::RemoteAccess,
        s::IBV_WC_REM_OP_ERR => WorkError::RemoteOperation,
        s::IBV_WC_RETRY_EXC_ERR => WorkError::RetriesExceeded {
            attempts: attempts(retries.unanswered),
        },
        s::IBV_WC_RNR_RETRY_EXC_ERR => WorkError::RnrRetriesExceeded {
            attempts: attempts(retries.not_ready),
        },
        status => WorkError::Device { status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psn::{Psn, Qpn};
    use crate::region::Domain;

    fn config(retries: RetryLimit, rnr_retries: RetryLimit) -> Config {
        let number = Qpn::new(17).expect("a number");
        Config {
            retries,
            rnr_retries,
            ..Config::new(number, Psn::new(0), Domain(1))
        }
    }

    #[test]
    fn attempts_are_those_that_the_device_was_told_to_make() {
        use sys::ibv_wc_status::{IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR};
        let many = config(RetryLimit::Times(40), RetryLimit::Times(40));
        let told = Retries::of(&many, 6);
        assert_eq!(
            work_error(IBV_WC_RETRY_EXC_ERR, told),
            Some(WorkError::RetriesExceeded { attempts: 7 }),
            "soft-RoCE takes no more than six"
        );
        assert_eq!(
            work_error(IBV_WC_RNR_RETRY_EXC_ERR, told),
            Some(WorkError::RnrRetriesExceeded { attempts: 7 }),
            "the eighth would be for ever"
        );
        let few = config(RetryLimit::Times(2), RetryLimit::Times(3));
        let told = Retries::of(&few, 7);
        assert_eq!((told.unanswered, told.not_ready), (2, 3));
    }
}
