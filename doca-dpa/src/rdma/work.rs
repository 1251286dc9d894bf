//! Work of the host on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flexio::Registration;
use flexio::rdma::{
    self as low, Ended, Flags, LocalKey, Operation, Pending, ReceivedKind, Rights, Segment,
};

use super::context::Rdma;
use super::error::{MapError, WorkRefused, WorkUnfinished};
use super::memory::HostBuffer;
use super::returned::Returned;

/// What the NIC keeps while work is on its way.
type KeptBuffer = Registration;

fn register(rdma: &Rdma, buffer: &HostBuffer) -> Result<(Registration, Segment), MapError> {
    let range = 0..buffer.len() as u64;
    let registration = rdma
        .nic()
        .register_host(buffer.memory(), range, Rights::LOCAL_WRITE)?;
    let segment = Segment {
        address: registration.local_base(),
        len: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
        key: LocalKey(registration.local_key()),
    };
    Ok((registration, segment))
}

/// Posts work on the whole of a buffer.
pub(crate) fn with_buffer(
    rdma: &Rdma,
    connection: &Arc<low::Connection>,
    buffer: HostBuffer,
    operation: impl FnOnce(Segment) -> Result<Operation, WorkRefused>,
) -> Result<WorkOp, Returned<WorkRefused>> {
    let post = || {
        let (registration, segment) = register(rdma, &buffer)?;
        let operation = operation(segment)?;
        let kept: Box<KeptBuffer> = Box::new(registration);
        Ok::<_, WorkRefused>(connection.post(operation, Flags::empty(), kept)?)
    };
    let (pending, buffer) = Returned::unless(post(), buffer)?;
    Ok(WorkOp::new(pending, Some(buffer), connection.clone()))
}

/// Something that is waited for by its owner only, with the buffer it works on: nothing of that is left when it is dropped.
#[derive(Debug)]
struct Awaited {
    pending: Arc<Pending>,
    buffer: Option<HostBuffer>,
    over: bool,
}

impl Awaited {
    fn new(pending: Arc<Pending>, buffer: Option<HostBuffer>) -> Self {
        let over = false;
        Self {
            pending,
            buffer,
            over,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let ended = self.pending.poll(cx);
        self.over |= ended.is_ready();
        ended
    }

    /// The buffer, if nothing works on it any more.
    fn take_buffer(&mut self) -> Option<HostBuffer> {
        self.over.then(|| self.buffer.take()).flatten()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.pending.forget();
    }
}

/// Work that has been posted: a future of its end. It keeps its connection.
///
/// # Cancel safety
/// Dropping it neither takes the work back nor frees what it works on before it is over.
#[derive(Debug)]
#[must_use = "the work goes on, but nobody learns how it ended"]
pub struct WorkOp {
    awaited: Awaited,
    _connection: Arc<low::Connection>,
}

/// What became of work.
#[derive(Debug)]
pub struct WorkResult {
    /// The buffer it worked on, if it had one.
    pub buffer: Option<HostBuffer>,
    /// The word before an atomic; else 0.
    pub original: u64,
}

impl WorkOp {
    pub(crate) fn new(
        pending: Arc<Pending>,
        buffer: Option<HostBuffer>,
        connection: Arc<low::Connection>,
    ) -> Self {
        Self {
            awaited: Awaited::new(pending, buffer),
            _connection: connection,
        }
    }

    /// The buffer of work that failed: it is as the network left it. `None` while the work is under way, once its result
    /// has given the buffer, and if it had none.
    ///
    /// ```no_run
    /// # use doca_dpa::rdma::{Connection, HostBuffer, Returned, WorkRefused};
    /// # async fn f(first: Connection, second: Connection, buffer: HostBuffer) -> Result<(), doca_dpa::Error> {
    /// let mut sent = first.send(buffer)?;
    /// if (&mut sent).await.is_err() && let Some(buffer) = sent.take_buffer() {
    ///     second.send(buffer)?.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_buffer(&mut self) -> Option<HostBuffer> {
        self.awaited.take_buffer()
    }
}

impl Future for WorkOp {
    type Output = Result<WorkResult, WorkUnfinished>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.awaited.poll(cx).map(|ended| match ended {
            Ended::Work(done) => match done.outcome {
                Ok(()) => Ok(WorkResult {
                    buffer: self.awaited.take_buffer(),
                    original: done.original,
                }),
                Err(failure) => Err(WorkUnfinished::Failed(failure)),
            },
            _ => Err(WorkUnfinished::Gone),
        })
    }
}

/// A receive that has been posted: a future of the message.
#[derive(Debug)]
#[must_use = "a message that arrives in it is lost"]
pub struct ReceiveOp {
    awaited: Awaited,
    _rdma: Rdma,
}

/// A message.
#[derive(Debug)]
pub struct Received {
    /// The buffer it is in.
    pub buffer: HostBuffer,
    /// Its bytes, from the buffer's first on; for a write with immediate, those written elsewhere.
    pub len: u32,
    /// Which connection it came by.
    pub connection: u32,
    /// What brought it, with the immediate data.
    pub kind: ReceivedKind,
}

impl ReceiveOp {
    pub(crate) fn post(rdma: &Rdma, buffer: HostBuffer) -> Result<Self, Returned<WorkUnfinished>> {
        let post = || {
            let (registration, segment) = register(rdma, &buffer)?;
            let posted = rdma.context().receive(segment, Box::new(registration));
            Ok::<_, WorkRefused>(posted?)
        };
        let (pending, buffer) = Returned::unless(post(), buffer)?;
        Ok(Self {
            awaited: Awaited::new(pending, Some(buffer)),
            _rdma: rdma.clone(),
        })
    }

    /// The buffer of a receive that failed, as for [`WorkOp::take_buffer`].
    pub fn take_buffer(&mut self) -> Option<HostBuffer> {
        self.awaited.take_buffer()
    }
}

impl Future for ReceiveOp {
    type Output = Result<Received, WorkUnfinished>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.awaited.poll(cx).map(|ended| {
            let Ended::Received(received, connection) = ended else {
                return Err(WorkUnfinished::Gone);
            };
            received.outcome.map_err(WorkUnfinished::Receive)?;
            let buffer = self.awaited.take_buffer().ok_or(WorkUnfinished::Gone)?;
            Ok(Received {
                buffer,
                len: received.len,
                connection,
                kind: received.kind,
            })
        })
    }
}
