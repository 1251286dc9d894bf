//! Calls: functions on the device that return a value.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use dpa_abi::kernel::result_from_bits;
use dpa_abi::{IntoArgs, Pod, Rpc};
use flexio::{Command, Submitted};

use crate::args;
use crate::dpa::Dpa;
use crate::error::{CallError, LaunchError, LaunchRefused};
use crate::launch::{Order, Unusable};

impl Dpa {
    /// Calls a function on the device: one thread, one time, in order of submission.
    ///
    /// It is submitted here, not at the first poll; a refusal is reported when it is awaited.
    #[doc(alias = "doca_dpa_rpc")]
    #[doc(alias = "flexio_process_call")]
    pub fn call<R: Rpc, A: IntoArgs<R::Args>>(&self, rpc: R, args: A) -> Call<R::Output> {
        let process = self.process().clone();
        let ((wire, kept), foreign) = args::pack(&process, || args.into_args());
        let unusable = Unusable::args(foreign, rpc.entry().name);
        let command = Command::call(rpc.entry(), wire).keep(kept);
        let submitted = Order {
            process,
            command,
            unusable,
        }
        .submit()
        .map_err(|(refused, _)| refused);
        Call {
            submitted,
            output: PhantomData,
        }
    }

    /// As [`Dpa::call`], blocking this thread.
    ///
    /// # Errors
    /// It was not accepted, or it did not complete.
    pub fn call_blocking<R: Rpc, A: IntoArgs<R::Args>>(
        &self,
        rpc: R,
        args: A,
    ) -> Result<R::Output, CallError> {
        self.call(rpc, args).wait()
    }
}

/// A call that was submitted: a future of its result. Dropping it detaches; the call goes on.
#[derive(Debug)]
#[must_use = "the result of a call, and whether it was accepted, is known when it is awaited"]
pub struct Call<T> {
    submitted: Result<Submitted, LaunchRefused>,
    output: PhantomData<fn() -> T>,
}

impl<T: Pod> Call<T> {
    fn ended(submitted: &Submitted, outcome: flexio::Outcome) -> Result<T, CallError> {
        match LaunchError::of(outcome, submitted) {
            Some(error) => Err(error.into()),
            None => Ok(result_from_bits(submitted.result())),
        }
    }

    /// Waits for the result by blocking this thread.
    ///
    /// # Errors
    /// It was not accepted, or it did not complete.
    pub fn wait(&self) -> Result<T, CallError> {
        let submitted = self.submitted.as_ref().map_err(Clone::clone)?;
        let outcome = submitted.wait().ok_or(LaunchError::Stuck)?;
        Self::ended(submitted, outcome)
    }
}

impl<T: Pod> Future for Call<T> {
    type Output = Result<T, CallError>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.submitted {
            Ok(submitted) => submitted
                .poll(cx)
                .map(|outcome| Self::ended(submitted, outcome)),
            Err(refused) => Poll::Ready(Err(refused.clone().into())),
        }
    }
}
