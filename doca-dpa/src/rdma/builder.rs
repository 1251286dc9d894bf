//! What an RDMA context is made with.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use flexio::rdma::{
    AckTimeout, Nic, PathMtu, Provider, ROCE_PORT, RetryLimit, RnrTimer, ServiceLevel,
};
use flexio::{ContextSpec, NicError};

use super::context::{CompletionQueue, Rdma};
use super::error::RdmaOpenError;
use crate::dpa::Dpa;

/// An RDMA context to be opened.
#[derive(Clone, Debug)]
#[must_use = "a builder opens nothing until `open`"]
pub struct RdmaBuilder<'d> {
    dpa: &'d Dpa,
    address: IpAddr,
    port: u16,
    provider: Provider,
    connections: u32,
    send_queue: u32,
    receive_queue: u32,
    mtu: Option<PathMtu>,
    timeout: Duration,
    retries: RetryLimit,
    rnr_retries: RetryLimit,
    rnr_timer: Duration,
    keep_alive: Option<Duration>,
    service_level: u8,
    depth: u8,
    completion_entries: u32,
    completions: Option<CompletionQueue>,
}

impl Dpa {
    /// To open an RDMA context: connections to other nodes.
    #[doc(alias = "doca_rdma_create")]
    pub fn rdma(&self) -> RdmaBuilder<'_> {
        RdmaBuilder {
            dpa: self,
            address: self
                .process()
                .address()
                .unwrap_or(Ipv4Addr::LOCALHOST.into()),
            port: ROCE_PORT,
            provider: Provider::Auto,
            connections: 1,
            send_queue: 256,
            receive_queue: 256,
            mtu: None,
            timeout: Duration::from_millis(67),
            retries: RetryLimit::Times(7),
            rnr_retries: RetryLimit::Forever,
            rnr_timer: Duration::from_micros(640),
            keep_alive: None,
            service_level: 0,
            depth: 16,
            completion_entries: 1024,
            completions: None,
        }
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $t:ty;)*) => {
        impl RdmaBuilder<'_> {$(
            $(#[$doc])*
            pub fn $name(mut self, $name: $t) -> Self {
                self.$name = $name;
                self
            }
        )*}
    };
}

settings! {
    /// The address of this machine that peers send to. One NIC is opened for each address, and shared by all contexts of
    /// the device that name it. Default: the address of the context's function, if it has one, else 127.0.0.1, which nobody outside
    /// can reach.
    #[doc(alias = "doca_rdma_set_gid_index")]
    address: IpAddr;
    /// The UDP port. Default 4791, which peers that are not ours insist on.
    port: u16;
    /// Which NIC carries the packets. Default [`Provider::Auto`]: one behind verbs, if the program was built with the
    /// feature `verbs` and an active port has the address, else the software NIC. The environment variable `DPA_RDMA`
    /// (`soft`, `verbs`, `verbs:DEVICE`, `auto`) overrides it. A NIC that is open at the address stays what it is.
    provider: Provider;
    /// Connections it may have. Default 1.
    #[doc(alias = "doca_rdma_set_max_num_connections")]
    connections: u32;
    /// Entries of each connection's send queue, rounded up to a power of two. Default 256. 0: kernels post nothing.
    #[doc(alias = "doca_rdma_set_send_queue_size")]
    send_queue: u32;
    /// Entries of the receive queue that kernels post to, rounded up to a power of two. Default 256. 0: receives are the
    /// host's ([`Rdma::receive`]).
    #[doc(alias = "doca_rdma_set_recv_queue_size")]
    receive_queue: u32;
    /// How long an acknowledgement may take: 4.096 us times a power of two, rounded up. Default 67 ms.
    timeout: Duration;
    /// How often it sends again without an acknowledgement. Default 7 times.
    retries: RetryLimit;
    /// How often it sends again to a receiver that is not ready. Default: without end.
    #[doc(alias = "doca_rdma_set_rnr_retry_count")]
    rnr_retries: RetryLimit;
    /// How long peers are asked to wait when there is no receive. Default 0.64 ms.
    rnr_timer: Duration;
    /// Reads and atomics outstanding, each way. Default 16.
    depth: u8;
    /// The priority of its packets, 0 to 15, which interfaces and switches map to queues: see
    /// [`ServiceLevel`](crate::rdma::ServiceLevel). Above 6 the software NIC takes `CAP_NET_ADMIN`. Default 0.
    #[doc(alias = "doca_rdma_set_sl")]
    service_level: u8;
    /// Entries of the completion queue that is made for it, if none is given. Default 1,024.
    completion_entries: u32;
}

/// The longest RNR timer of the standard.
const LONGEST_RNR: Duration = Duration::from_micros(655_360);

impl RdmaBuilder<'_> {
    /// Bytes of payload in a packet at most; the smaller of both sides' offers counts. Default 4,096 on loopback
    /// addresses, 1,024 elsewhere, which every Ethernet carries.
    #[doc(alias = "doca_rdma_set_mtu")]
    pub fn mtu(mut self, mtu: PathMtu) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Asks after so much silence, from a millisecond to a day, whether the peer is still there. Default: never.
    ///
    /// The silence begins when this side connects, also if the peer has not connected yet: one that does so only after the
    /// interval and (retries + 1) x timeout (0.54 s by default) counts as gone, and the connection has failed. So the interval
    /// is longer than peers take to start, or both connect right after the exchange of their blobs.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = Some(interval);
        self
    }

    /// Reports to this completion queue, which other contexts may report to as well.
    #[doc(alias = "doca_rdma_dpa_completion_attach")]
    pub fn completions(mut self, queue: &CompletionQueue) -> Self {
        self.completions = Some(queue.clone());
        self
    }

    /// Opens the context, and the NIC at its address if nobody has.
    ///
    /// # Errors
    /// The address is none of this machine's, or its port is taken; what [`RdmaBuilder::provider`] or `DPA_RDMA` asks for is not
    /// to be had; a figure is out of its range; the completion queue is another NIC's or context's; out of device memory, queues,
    /// events, NICs or threads; the Dpa context is closed or faulted.
    #[doc(alias = "doca_ctx_start")]
    pub fn open(self) -> Result<Rdma, RdmaOpenError> {
        let spec = self.spec()?;
        let nic = self.nic()?;
        let completions = match self.completions {
            Some(queue) if queue.is_of(&nic) => queue,
            Some(_) => return Err(RdmaOpenError::ForeignQueue),
            None => CompletionQueue::new(&nic, self.completion_entries)?,
        };
        Rdma::new(nic, spec, completions)
    }

    /// A completion queue on this NIC, for several contexts.
    ///
    /// # Errors
    /// The NIC cannot be opened, as for [`RdmaBuilder::open`]; too many entries; out of device memory, queues or events; the Dpa
    /// context is closed or faulted.
    #[doc(alias = "doca_dpa_completion_create")]
    pub fn completion_queue(&self) -> Result<CompletionQueue, RdmaOpenError> {
        let nic = self.nic()?;
        Ok(CompletionQueue::new(&nic, self.completion_entries)?)
    }

    fn nic(&self) -> Result<Nic, NicError> {
        let process = self.dpa.process();
        process.nic_of(self.address, self.port, &self.provider)
    }

    fn spec(&self) -> Result<ContextSpec, RdmaOpenError> {
        let usual = PathMtu::usual(self.address);
        Ok(ContextSpec {
            local: None,
            connections: self.connections,
            send_entries: self.send_queue,
            receive_entries: self.receive_queue,
            outstanding: self.send_queue.max(256) as usize,
            mtu: self.mtu.unwrap_or(usual),
            timeout: ack_timeout(self.timeout)?,
            retries: self.retries,
            rnr_retries: self.rnr_retries,
            rnr_timer: self.checked_rnr_timer()?,
            keep_alive: self.keep_alive,
            service_level: self.checked_service_level()?,
            depth: self.depth,
        })
    }

    fn checked_service_level(&self) -> Result<ServiceLevel, RdmaOpenError> {
        let asked = self.service_level;
        ServiceLevel::new(asked).ok_or(RdmaOpenError::ServiceLevel { asked })
    }

    fn checked_rnr_timer(&self) -> Result<RnrTimer, RdmaOpenError> {
        if self.rnr_timer > LONGEST_RNR {
            return Err(RdmaOpenError::Time {
                what: "an RNR timer",
                asked_us: self.rnr_timer.as_micros(),
                max_us: LONGEST_RNR.as_micros(),
            });
        }
        Ok(RnrTimer::at_least(self.rnr_timer))
    }
}

/// The shortest timeout of the standard that is not shorter.
fn ack_timeout(time: Duration) -> Result<AckTimeout, RdmaOpenError> {
    let codes = (1..32).filter_map(AckTimeout::from_code);
    let mut longest = Duration::ZERO;
    for code in codes {
        let duration = code.duration().unwrap_or_default();
        if duration >= time {
            return Ok(code);
        }
        longest = longest.max(duration);
    }
    Err(RdmaOpenError::Time {
        what: "an acknowledgement timeout",
        asked_us: time.as_micros(),
        max_us: longest.as_micros(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_to_a_code() {
        let code = |us| {
            ack_timeout(Duration::from_micros(us))
                .map(AckTimeout::code)
                .ok()
        };
        assert_eq!(code(0), Some(1));
        assert_eq!(code(9), Some(2));
        assert_eq!(code(67_000), Some(14));
        assert_eq!(code(u64::MAX / 2), None);
    }
}
