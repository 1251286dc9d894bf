//! Functions of the device: their partitions, groups of execution units, and contexts that reach over to another function's NIC.

use flexio::handler::Affinity;
use flexio::{FunctionError, FunctionInfo, PartitionSpec};
use thiserror::Error;

use crate::dpa::Dpa;
use crate::error::Error;
use crate::rdma::RdmaBuilder;

/// There is no group of this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("function `{function}` has no group `{asked}`; it has {}", listed(.known))]
pub struct NoGroup {
    /// The function.
    pub function: String,
    /// The name asked for.
    pub asked: String,
    /// Those it has.
    pub known: Vec<String>,
}

fn listed(names: &[String]) -> String {
    match names.is_empty() {
        true => "none with a name".into(),
        false => names.join(", "),
    }
}

impl Dpa {
    /// The functions of the device: what kind they are, the addresses of their NICs, their partitions, and how many contexts
    /// are open on each.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        self.device().functions()
    }

    /// The function that this context is opened on.
    pub fn function(&self) -> &str {
        self.process().function()
    }

    /// The affinity of DPA threads that are to run on the units of this group of the context's function.
    ///
    /// # Errors
    /// There is no such group.
    pub fn group(&self, name: &str) -> Result<Affinity, NoGroup> {
        let groups = self.process().groups();
        let found = groups.iter().position(|group| group.name == name);
        match found {
            Some(number) if !name.is_empty() => Ok(Affinity::Group(number as u32)),
            _ => Err(NoGroup {
                function: self.function().into(),
                asked: name.into(),
                known: groups
                    .iter()
                    .map(|g| g.name.clone())
                    .filter(|n| !n.is_empty())
                    .collect(),
            }),
        }
    }

    /// Gives a function other execution units and groups; none: takes its partition away.
    ///
    /// # Errors
    /// There is no such function; contexts are open on it; the units are another's, or there are none of these numbers.
    pub fn resize(
        &self,
        function: &str,
        partition: Option<PartitionSpec>,
    ) -> Result<(), FunctionError> {
        self.device().resize(function, partition)
    }

    /// Extends this context by another function: what is opened with it has that function's NIC, and runs on the units of
    /// this context's. The function needs no partition.
    ///
    /// A memory map belongs to the NIC of the RDMA context that made it, so each function has its own, of the same memory.
    /// Handles name the NIC they belong to: a kernel uses those of several functions beside each other.
    ///
    /// # Errors
    /// There is no such function; its NIC has no address.
    #[doc(alias = "doca_dpa_device_extend")]
    pub fn extend(&self, function: &str) -> Result<Extended, Error> {
        let address = self.device().address_of(function)?;
        Ok(Extended {
            dpa: self.clone(),
            function: function.into(),
            address,
        })
    }
}

/// A context, extended by another function of the device.
#[derive(Clone, Debug)]
pub struct Extended {
    dpa: Dpa,
    function: String,
    address: std::net::IpAddr,
}

impl Extended {
    /// The context.
    pub fn dpa(&self) -> &Dpa {
        &self.dpa
    }

    /// The function.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// The address of its NIC.
    pub fn address(&self) -> std::net::IpAddr {
        self.address
    }

    /// To open an RDMA context at the function's NIC.
    pub fn rdma(&self) -> RdmaBuilder<'_> {
        self.dpa.rdma().address(self.address)
    }
}
