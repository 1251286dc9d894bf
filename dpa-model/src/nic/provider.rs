//! What carries the packets of a NIC: the software NIC, or a device behind verbs.
//!
//! Both take the same work requests and give the same completions to the same [`Host`]. What differs is here: queue pair
//! numbers (ours are random, a device's its own), registration (a device has regions of its own beside ours), and what the
//! NIC's thread sleeps on.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rdma::Datagram;
use rdma::config::{Config, Peer};
use rdma::connection::{AtomicCapability, NicKind};
use rdma::counters::Counters;
use rdma::mtu::PathMtu;
use rdma::nic::{CreateError, NicPostError, TransitionError, UnknownQueuePair};
use rdma::provider::{Chosen, Provider as Asked, SystemError, UnknownProvider, VerbsOpenError};
use rdma::psn::Qpn;
use rdma::queue_pair::{Cause, State};
use rdma::region::Domain;
use rdma::soft::{Host, SoftNic};
use rdma::udp::{BindError, Options, Socket, SocketCounters};
#[cfg(feature = "verbs")]
use rdma::verbs::VerbsNic;
use rdma::work::WorkRequest;

use super::NicError;

/// The software NIC has given too many queue pairs a number of late.
const NO_NUMBER: SystemError = SystemError {
    what: "giving a queue pair a number, while too many have ended within the last two minutes,",
    errno: libc::EAGAIN,
};

/// What carries the packets of a NIC.
#[derive(Debug)]
pub(crate) enum Provider {
    Soft(Box<SoftNic>),
    #[cfg(feature = "verbs")]
    Verbs(Box<VerbsNic>),
}

/// What peers must know of a NIC, and what limits its queue pairs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) kind: NicKind,
    /// Where peers send to.
    pub(crate) at: SocketAddr,
    /// The largest packets.
    pub(crate) mtu: PathMtu,
    pub(crate) initiator_depth: u8,
    pub(crate) responder_resources: u8,
    pub(crate) atomics: AtomicCapability,
}

impl Provider {
    /// Opens what was asked for, or what the environment says; and why it was that.
    pub(crate) fn open(
        asked: Asked,
        address: IpAddr,
        options: &Options,
    ) -> Result<(Self, Chosen), NicError> {
        let named = asked.clone().or_from_environment()?;
        let by = match named == asked {
            true => "asked for".to_owned(),
            false => format!("{} says so", rdma::provider::VARIABLE),
        };
        match named {
            Asked::Soft => Ok((Self::soft(address, options)?, software(by))),
            Asked::Verbs { device } => {
                Ok(Self::verbs(device.as_deref(), address, options.port, by)?)
            }
            Asked::Auto => {
                let why = "an active port has the address".to_owned();
                match Self::verbs(None, address, options.port, why) {
                    Ok(opened) => Ok(opened),
                    Err(missing) => {
                        let soft = Self::soft(address, options)?;
                        Ok((soft, software(missing.to_string())))
                    }
                }
            }
        }
    }

    fn soft(address: IpAddr, options: &Options) -> Result<Self, BindError> {
        Ok(Self::Soft(Box::new(SoftNic::bind(address, options)?)))
    }

    #[cfg(feature = "verbs")]
    fn verbs(
        device: Option<&str>,
        address: IpAddr,
        port: u16,
        reason: String,
    ) -> Result<(Self, Chosen), VerbsOpenError> {
        if port != rdma::udp::ROCE_PORT {
            return Err(VerbsOpenError::Port { port });
        }
        let nic = VerbsNic::open(device, address)?;
        let device = Some(nic.port().clone());
        Ok((Self::Verbs(Box::new(nic)), Chosen { device, reason }))
    }

    #[cfg(not(feature = "verbs"))]
    fn verbs(
        _device: Option<&str>,
        _address: IpAddr,
        _port: u16,
        _reason: String,
    ) -> Result<(Self, Chosen), VerbsOpenError> {
        Err(VerbsOpenError::NotBuilt)
    }

    /// What a NIC of the model itself is.
    pub(crate) fn of_model() -> Chosen {
        software("it is a NIC of the model".into())
    }

    /// What peers must know of it.
    pub(crate) fn facts(&self) -> Facts {
        match self {
            Self::Soft(soft) => Facts {
                kind: NicKind::Soft,
                at: soft.nic_ref().local(),
                mtu: PathMtu::B4096,
                initiator_depth: u8::MAX,
                responder_resources: u8::MAX,
                atomics: AtomicCapability::Global,
            },
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => {
                let facts = verbs.facts();
                Facts {
                    kind: match facts.lid {
                        0 => NicKind::Verbs,
                        lid => NicKind::InfiniBand { lid },
                    },
                    at: (facts.address, rdma::udp::ROCE_PORT).into(),
                    mtu: facts.mtu,
                    initiator_depth: facts.initiator_depth,
                    responder_resources: facts.responder_resources,
                    atomics: facts.atomics,
                }
            }
        }
    }

    /// Makes a queue pair that takes its receives from this pool. `config` draws a random number each time; a device has
    /// numbers of its own.
    pub(crate) fn create(
        &mut self,
        now: Duration,
        pool: Option<usize>,
        mut config: impl FnMut() -> Config,
    ) -> Result<Qpn, SystemError> {
        // Ours takes what the host lends it, when it wants one.
        let _ = pool;
        match self {
            Self::Soft(soft) => loop {
                let config = config();
                soft.allows(config.service_level)?;
                match soft.nic().create(now, config) {
                    Ok(number) => return Ok(number),
                    Err(CreateError::Taken(_)) => {}
                    Err(_) => return Err(NO_NUMBER),
                }
            },
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.create(config(), pool),
        }
    }

    pub(crate) fn connect(&mut self, number: Qpn, peer: Peer) -> Result<(), TransitionError> {
        match self {
            Self::Soft(soft) => soft.nic().connect(number, peer),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.connect(number, &peer),
        }
    }

    pub(crate) fn activate(&mut self, now: Duration, number: Qpn) -> Result<(), TransitionError> {
        match self {
            Self::Soft(soft) => soft.nic().activate(now, number),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.activate(now, number),
        }
    }

    #[inline]
    pub(crate) fn post(
        &mut self,
        now: Duration,
        number: Qpn,
        request: WorkRequest,
    ) -> Result<(), NicPostError> {
        match self {
            Self::Soft(soft) => soft.nic().post(now, number, request),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.post(now, number, &request),
        }
    }

    pub(crate) fn state(&self, number: Qpn) -> Option<State> {
        match self {
            Self::Soft(soft) => soft
                .nic_ref()
                .queue_pair(number)
                .map(rdma::queue_pair::QueuePair::state),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.state(number),
        }
    }

    /// Whether a queue pair is in ERR.
    pub(crate) fn has_failed(&self, number: Qpn) -> bool {
        matches!(self.state(number), Some(State::Error(_)))
    }

    /// What a queue pair has counted; a device behind verbs counts for itself.
    pub(crate) fn counters_of(&self, number: Qpn) -> Counters {
        match self {
            Self::Soft(soft) => {
                let pair = soft.nic_ref().queue_pair(number);
                pair.map(|pair| *pair.counters()).unwrap_or_default()
            }
            #[cfg(feature = "verbs")]
            Self::Verbs(_) => Counters::default(),
        }
    }

    /// What was dropped before a queue pair was found.
    pub(crate) fn counters(&self) -> Counters {
        match self {
            Self::Soft(soft) => *soft.nic_ref().counters(),
            #[cfg(feature = "verbs")]
            Self::Verbs(_) => Counters::default(),
        }
    }

    pub(crate) fn fail(&mut self, number: Qpn, cause: Cause) -> Result<(), UnknownQueuePair> {
        match self {
            Self::Soft(soft) => soft.nic().fail(number, cause),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.fail(number, cause),
        }
    }

    pub(crate) fn fail_domain(&mut self, domain: Domain, cause: Cause) {
        match self {
            Self::Soft(soft) => {
                soft.nic().fail_domain(domain, cause);
            }
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.fail_domain(domain, cause),
        }
    }

    /// Ends the work of a queue pair, and reports it: nothing is done for it any more.
    pub(crate) fn end_work(&mut self, number: Qpn, host: &mut dyn Host) {
        match self {
            Self::Soft(soft) => {
                // Gone or over already: nothing to do.
                let _ = soft.nic().fail(number, Cause::Closed);
                soft.report(host);
            }
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.end_work(number, host),
        }
    }

    /// Removes a queue pair, after [`Provider::end_work`].
    pub(crate) fn destroy(&mut self, now: Duration, number: Qpn, host: &mut dyn Host) {
        // A device says by `host` what it had under way; ours has been flushed when it failed.
        let _ = &host;
        match self {
            Self::Soft(soft) => {
                soft.nic().destroy(now, number);
            }
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.destroy(now, number, host),
        }
    }

    pub(crate) fn progress(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        match self {
            Self::Soft(soft) => soft.progress(now, host),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.progress(now, host),
        }
    }

    /// Sends what was just posted.
    pub(crate) fn send(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        match self {
            Self::Soft(soft) => soft.send(now, host),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.progress(now, host),
        }
    }

    /// A count of the work that has been posted to a queue pair.
    pub(crate) fn posted(&self, number: Qpn) -> u64 {
        match self {
            Self::Soft(soft) => soft.nic_ref().posted(number),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.posted(number),
        }
    }

    /// Whether work of a queue pair that was posted before the count was this is not over, or an end of its work is not reported.
    pub(crate) fn owes(&self, number: Qpn, count: u64) -> bool {
        match self {
            Self::Soft(soft) => soft.nic_ref().owes(number, count),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.owes(number, count),
        }
    }

    /// The host is to be told that a queue pair has room when that work is over.
    pub(crate) fn tell_when_over(&mut self, number: Qpn, count: u64) {
        match self {
            Self::Soft(soft) => soft.nic().tell_when_over(number, count),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.tell_when_over(number, count),
        }
    }

    /// Reports what is over.
    pub(crate) fn report(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        // Ours knows by itself.
        let _ = now;
        match self {
            Self::Soft(soft) => soft.report(host),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.progress(now, host),
        }
    }

    /// Whether the last look has left something to be sent.
    pub(crate) const fn has_more(&self) -> bool {
        match self {
            Self::Soft(soft) => soft.has_more(),
            #[cfg(feature = "verbs")]
            Self::Verbs(_) => false,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Soft(soft) => soft.poll_timeout(),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.poll_timeout(),
        }
    }

    /// The receives that a device has of a pool count no more: their ids.
    pub(crate) fn take_back_receives(&mut self, pool: usize) -> Vec<u64> {
        let _ = pool;
        match self {
            Self::Soft(_) => Vec::new(),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.take_back_receives(pool),
        }
    }

    /// A pool gives nothing any more, and its queue pairs are in ERR. What is left of it, the receives that a device had and
    /// behind these `rest`, is reported as flushed for `reporter` when the device has reported what arrived. The software NIC has
    /// reported that, and leaves the rest to the caller.
    pub(crate) fn end_receives(
        &mut self,
        now: Duration,
        pool: usize,
        rest: Vec<u64>,
        reporter: Option<Qpn>,
    ) -> Vec<u64> {
        let _ = (now, pool, reporter);
        match self {
            Self::Soft(_) => rest,
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => {
                verbs.end_receives(now, pool, rest, reporter);
                Vec::new()
            }
        }
    }

    /// A pool is gone: the ids of the receives that a device had of it.
    pub(crate) fn end_pool(&mut self, pool: usize, host: &mut dyn Host) -> Vec<u64> {
        let _ = (pool, &host);
        match self {
            Self::Soft(_) => Vec::new(),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.end_pool(pool, host),
        }
    }

    /// Its socket, if it is the software NIC on a network.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Soft(soft) => soft.socket(),
            #[cfg(feature = "verbs")]
            Self::Verbs(_) => None,
        }
    }

    pub(crate) fn socket_counters(&self) -> SocketCounters {
        self.socket().map(Socket::counters).unwrap_or_default()
    }

    /// What is readable when there is something to do.
    pub(crate) fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        match self {
            Self::Soft(soft) => soft.socket().map(AsFd::as_fd),
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => Some(verbs.as_fd()),
        }
    }

    /// What is readable when a device has something to say that is no completion.
    pub(crate) fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Soft(_) => None,
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => Some(verbs.event_fd()),
        }
    }

    /// Takes that; false: the device is gone.
    pub(crate) fn take_events(&mut self) -> bool {
        match self {
            Self::Soft(_) => true,
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => verbs.take_events(),
        }
    }

    /// [`Provider::wake_fd`] is to become readable. True: only what comes from now on makes it so, and who wants to sleep
    /// must first make progress once more.
    pub(crate) fn request_notification(&mut self) -> bool {
        match self {
            Self::Soft(_) => false,
            #[cfg(feature = "verbs")]
            Self::Verbs(verbs) => {
                verbs.request_notification();
                true
            }
        }
    }

    /// What it has sent into the virtual network.
    pub(crate) fn take_sent(&mut self) -> VecDeque<Datagram> {
        match self {
            Self::Soft(soft) => soft.take_sent(),
            #[cfg(feature = "verbs")]
            Self::Verbs(_) => VecDeque::new(),
        }
    }

    /// A datagram of the virtual network has come.
    pub(crate) fn deliver(&mut self, datagram: Datagram) {
        match self {
            Self::Soft(soft) => soft.deliver(datagram),
            #[cfg(feature = "verbs")]
            Self::Verbs(_) => {}
        }
    }
}

fn software(reason: String) -> Chosen {
    Chosen {
        device: None,
        reason,
    }
}

impl From<UnknownProvider> for NicError {
    fn from(error: UnknownProvider) -> Self {
        Self::Provider(error)
    }
}
