//! Which NIC carries the packets: the software NIC of this crate, or one behind verbs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// The environment variable that overrides what a program asks for: `soft`, `verbs`, `verbs:DEVICE` or `auto`.
pub const VARIABLE: &str = "DPA_RDMA";

/// Which NIC is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Provider {
    /// One behind verbs, if the program was built with the feature `verbs` and an active port of a device has the
    /// address; else the software NIC.
    #[default]
    Auto,
    /// The software NIC, over a UDP socket.
    Soft,
    /// One behind verbs, or an error that says what is missing.
    Verbs {
        /// The name of the device, as `rdma link` shows it; `None`: any that has the address.
        device: Option<String>,
    },
}

/// A word that names no provider.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{word:?} names no RDMA provider: `auto`, `soft`, `verbs` and `verbs:DEVICE` do")]
pub struct UnknownProvider {
    /// What was given.
    pub word: String,
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(word: &str) -> Result<Self, UnknownProvider> {
        match word.split_once(':') {
            None if word == "auto" => Ok(Self::Auto),
            None if word == "soft" => Ok(Self::Soft),
            None if word == "verbs" => Ok(Self::Verbs { device: None }),
            Some(("verbs", device)) if !device.is_empty() => Ok(Self::Verbs {
                device: Some(device.into()),
            }),
            _ => Err(UnknownProvider { word: word.into() }),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Soft => f.write_str("soft"),
            Self::Verbs { device: None } => f.write_str("verbs"),
            Self::Verbs {
                device: Some(device),
            } => write!(f, "verbs:{device}"),
        }
    }
}

impl Provider {
    /// What [`VARIABLE`] says, or this if it is not set or empty.
    ///
    /// # Errors
    /// Its value names no provider.
    pub fn or_from_environment(self) -> Result<Self, UnknownProvider> {
        match std::env::var(VARIABLE) {
            Ok(word) if word.is_empty() => Ok(self),
            Ok(word) => word.parse(),
            Err(std::env::VarError::NotPresent) => Ok(self),
            Err(std::env::VarError::NotUnicode(word)) => Err(UnknownProvider {
                word: word.to_string_lossy().into_owned(),
            }),
        }
    }
}

/// Why no NIC behind verbs could be opened: one sentence each, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerbsOpenError {
    /// The program cannot do verbs.
    #[error("this program was built without the feature `verbs`: build it with `--features verbs`")]
    NotBuilt,
    /// The simulation has no devices of the machine.
    #[error("a simulation has NICs of its own: verbs need the driver with threads")]
    Simulation,
    /// libibverbs is not there.
    #[error(
        "libibverbs cannot be loaded ({reason}): install it (Debian: libibverbs1 and ibverbs-providers; \
         Fedora: libibverbs)"
    )]
    NoLibrary {
        /// What the loader says.
        reason: String,
    },
    /// The kernel knows no verbs.
    #[error("the kernel offers no RDMA devices: load its module with `modprobe ib_uverbs`")]
    NoKernelSupport,
    /// There is no device.
    #[error(
        "there is no RDMA device: load the driver of the card, or make one of an interface with \
         `rdma link add rxe0 type rxe netdev INTERFACE`"
    )]
    NoDevice,
    /// There is no device of this name.
    #[error("there is no RDMA device {asked}: there are {there}")]
    NoSuchDevice {
        /// The name asked for.
        asked: String,
        /// The names there are.
        there: String,
    },
    /// The device may not be opened, or its file is not there.
    #[error(
        "{device} cannot be opened: let this user read and write /dev/infiniband/uverbs* (udev rules, or in a \
         container `--device=/dev/infiniband`)"
    )]
    Permission {
        /// The device.
        device: String,
    },
    /// No port of it is up.
    #[error(
        "port {port} of {device} is {state}: bring its network interface up (`ip link set INTERFACE up`)"
    )]
    PortDown {
        /// The device.
        device: String,
        /// The port.
        port: u8,
        /// Its state.
        state: String,
    },
    /// No port has the address.
    #[error(
        "{device} has no RoCE v2 address {address}, only {there}: give one of these, or add it with \
         `ip addr add {address}/24 dev INTERFACE`"
    )]
    NoGid {
        /// The device, or all of them.
        device: String,
        /// The address asked for.
        address: IpAddr,
        /// The addresses there are.
        there: String,
    },
    /// The UDP port cannot be chosen.
    #[error("a NIC behind verbs receives at UDP port 4791, not {port}: leave the port as it is")]
    Port {
        /// The port asked for.
        port: u16,
    },
    /// The system refused something else.
    #[error("{device}: {cause}")]
    System {
        /// The device.
        device: String,
        /// What it refused.
        #[source]
        cause: SystemError,
    },
}

/// The system refused something of an RDMA device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what} failed: {}{}", std::io::Error::from_raw_os_error(*errno), remedy(what, *errno))]
pub struct SystemError {
    /// What was tried.
    pub what: &'static str,
    /// The number of the system's error.
    pub errno: i32,
}

/// What is tried when work is to leave with a priority.
pub const SET_PRIORITY: &str = "sending with this service level";

fn remedy(what: &str, errno: i32) -> &'static str {
    match errno {
        libc::EPERM if what == SET_PRIORITY => "; levels above 6 take CAP_NET_ADMIN",
        libc::ENOMEM => {
            "; the limit for locked memory may be too low: raise it with `ulimit -l unlimited` (systemd: \
             LimitMEMLOCK=infinity, docker: --ulimit memlock=-1), or grant CAP_IPC_LOCK"
        }
        libc::EPERM | libc::EACCES => "; let this user read and write /dev/infiniband/uverbs*",
        _ => "",
    }
}

/// Which NIC was opened, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The device behind verbs; `None`: the software NIC.
    pub device: Option<VerbsPort>,
    /// Why this one.
    pub reason: String,
}

/// A port of a device behind verbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerbsPort {
    /// The device's name.
    pub device: String,
    /// The port's number.
    pub port: u8,
    /// Where the address stands in its table.
    pub gid_index: u8,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            None => write!(f, "the software NIC ({})", self.reason),
            Some(at) => write!(
                f,
                "verbs on {} port {}, GID index {} ({})",
                at.device, at.port, at.gid_index, self.reason
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_providers() {
        for word in ["auto", "soft", "verbs", "verbs:mlx5_0"] {
            assert_eq!(
                word.parse::<Provider>().map(|p| p.to_string()),
                Ok(word.into())
            );
        }
        for word in ["", "hard", "verbs:", "soft:rxe0", "Verbs"] {
            assert!(word.parse::<Provider>().is_err(), "{word}");
        }
    }
}
