//! Which port of which device has an address.
//!
//! The table of a port's addresses comes from sysfs, which says of each entry whether it is of RoCE v2, and of nothing
//! else is it asked: index 1 is as often something else. Where that is the library says of each device.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::library::Library;
use super::objects::{Device, Limits, Listed, PortState};
use crate::mtu::PathMtu;
use crate::provider::{SystemError, VerbsOpenError, VerbsPort};

/// The state in which a port carries packets.
const ACTIVE: u32 = 4;

/// An open device, and the port of it that was chosen.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) device: Arc<Device>,
    pub(super) at: VerbsPort,
    pub(super) address: IpAddr,
    pub(super) limits: Limits,
    pub(super) mtu: PathMtu,
    /// Not 0: an InfiniBand port.
    pub(super) lid: u16,
}

/// An entry of a port's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    port: u8,
    index: u8,
    address: IpAddr,
}

/// Opens the device that has this address, or the one of this name. An IPv4 address that is mapped into IPv6 is that IPv4 address.
pub(super) fn open(asked: Option<&str>, address: IpAddr) -> Result<Port, VerbsOpenError> {
    let address = address.to_canonical();
    let lib = Library::load().map_err(|reason| VerbsOpenError::NoLibrary { reason })?;
    let all = devices(lib)?;
    let candidates = match asked {
        None => all,
        Some(name) => vec![named(all, name)?],
    };
    for Listed { name, sysfs } in &candidates {
        let entries = entries(sysfs);
        if let Some(entry) = entries.iter().find(|entry| entry.address == address) {
            return open_port(lib, name, *entry);
        }
    }
    if let Some(device) = asked
        && let Some(port) = infiniband(lib, device)?
    {
        return Ok(port);
    }
    Err(no_address(&candidates, address))
}

fn devices(lib: &'static Library) -> Result<Vec<Listed>, VerbsOpenError> {
    match super::objects::devices(lib) {
        Ok(all) if all.is_empty() => Err(VerbsOpenError::NoDevice),
        Ok(all) => Ok(all),
        Err(error) if error.errno == libc::ENOSYS => Err(VerbsOpenError::NoKernelSupport),
        Err(_) => Err(VerbsOpenError::NoDevice),
    }
}

/// The device of this name.
fn named(all: Vec<Listed>, name: &str) -> Result<Listed, VerbsOpenError> {
    let there = names(&all);
    let mut all = all.into_iter();
    let found = all.find(|listed| listed.name == name);
    found.ok_or(VerbsOpenError::NoSuchDevice {
        asked: name.into(),
        there,
    })
}

fn names(devices: &[Listed]) -> String {
    let names: Vec<&str> = devices.iter().map(|listed| listed.name.as_str()).collect();
    names.join(", ")
}

fn no_address(devices: &[Listed], address: IpAddr) -> VerbsOpenError {
    let all = devices.iter().flat_map(|listed| entries(&listed.sysfs));
    let mut there: Vec<String> = all.map(|entry| entry.address.to_string()).collect();
    there.dedup();
    VerbsOpenError::NoGid {
        device: names(devices),
        address,
        there: match there.is_empty() {
            true => "none".into(),
            false => there.join(", "),
        },
    }
}

fn system(device: &str) -> impl Fn(SystemError) -> VerbsOpenError {
    move |cause| match cause.errno {
        // Having been refused, libibverbs looks for another file, and says that there is none.
        libc::EPERM | libc::EACCES | libc::ENOENT => VerbsOpenError::Permission {
            device: device.into(),
        },
        libc::ENOSYS => VerbsOpenError::NoKernelSupport,
        _ => VerbsOpenError::System {
            device: device.into(),
            cause,
        },
    }
}

fn open_port(lib: &'static Library, name: &str, entry: Entry) -> Result<Port, VerbsOpenError> {
    let failed = system(name);
    let device = Device::open(lib, name).map_err(&failed)?;
    let limits = device.limits().map_err(&failed)?;
    let state = device.port(entry.port).map_err(&failed)?;
    active(name, entry.port, state)?;
    Ok(Port {
        device,
        at: VerbsPort {
            device: name.into(),
            port: entry.port,
            gid_index: entry.index,
        },
        address: entry.address,
        limits,
        mtu: path_mtu(state.mtu),
        lid: 0,
    })
}

/// The first active InfiniBand port of a device, if it has one: peers reach it by its LID.
fn infiniband(lib: &'static Library, name: &str) -> Result<Option<Port>, VerbsOpenError> {
    let failed = system(name);
    let device = Device::open(lib, name).map_err(&failed)?;
    let limits = device.limits().map_err(&failed)?;
    let mut down = Ok(None);
    for port in 1..=limits.ports {
        let state = device.port(port).map_err(&failed)?;
        if !state.is_infiniband {
            continue;
        }
        if let Err(error) = active(name, port, state) {
            down = Err(error);
            continue;
        }
        let gid = device.gid(port, 0).map_err(&failed)?;
        return Ok(Some(Port {
            device,
            at: VerbsPort {
                device: name.into(),
                port,
                gid_index: 0,
            },
            address: Ipv6Addr::from(gid).into(),
            limits,
            mtu: path_mtu(state.mtu),
            lid: state.lid,
        }));
    }
    down
}

fn active(device: &str, port: u8, state: PortState) -> Result<(), VerbsOpenError> {
    const NAMES: [&str; 6] = [
        "unknown",
        "down",
        "initialising",
        "armed",
        "active",
        "deferred",
    ];
    if state.state == ACTIVE {
        return Ok(());
    }
    let name = NAMES.get(state.state as usize).copied();
    Err(VerbsOpenError::PortDown {
        device: device.into(),
        port,
        state: name.unwrap_or("unknown").into(),
    })
}

/// From the standard's code, which begins with 1 for 256 bytes.
fn path_mtu(code: u32) -> PathMtu {
    let index = (code as usize)
        .saturating_sub(1)
        .min(PathMtu::ALL.len() - 1);
    PathMtu::ALL[index]
}

/// The RoCE v2 addresses of all ports of a device, in order.
fn entries(sysfs: &Path) -> Vec<Entry> {
    let ports = sysfs.join("ports");
    let mut found = Vec::new();
    for (port, place) in numbered(&ports) {
        for (index, kind) in numbered(&place.join("gid_attrs/types")) {
            // An empty entry has no type, and reading it fails.
            let kind = std::fs::read_to_string(kind).unwrap_or_default();
            let gid = std::fs::read_to_string(place.join("gids").join(index.to_string()));
            if kind.trim() == "RoCE v2"
                && let Some(address) = gid.ok().as_deref().and_then(address)
            {
                found.push(Entry {
                    port,
                    index,
                    address,
                });
            }
        }
    }
    found
}

/// What a directory has under numbers, in their order.
fn numbered(directory: &Path) -> Vec<(u8, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut all: Vec<(u8, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    all.sort();
    all
}

/// The address of a GID as sysfs writes it.
fn address(gid: &str) -> Option<IpAddr> {
    let gid: Ipv6Addr = gid.trim().parse().ok()?;
    (!gid.is_unspecified()).then(|| gid.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_gids() {
        let v4 = address("0000:0000:0000:0000:0000:ffff:0a4d:0001\n");
        assert_eq!(v4, Some([10, 77, 0, 1].into()));
        let v6 = address("fe80:0000:0000:0000:0077:00ff:fe00:0001");
        assert_eq!(v6, "fe80::77:ff:fe00:1".parse().ok());
        assert_eq!(address("0000:0000:0000:0000:0000:0000:0000:0000"), None);
        assert_eq!(address(""), None);
    }

    #[test]
    fn codes_of_mtus() {
        let bytes = |code| path_mtu(code).bytes();
        assert_eq!([1, 3, 5, 9].map(bytes), [256, 1024, 4096, 4096]);
        assert_eq!(bytes(0), 256);
    }
}
