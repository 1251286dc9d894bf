//! Both ends of a connection, in one program.

#[path = "../addresses/mod.rs"]
mod addresses;

use std::net::IpAddr;

use doca_dpa::rdma::{Connection, Rdma};
use doca_dpa::{Dpa, Error};

/// Two connected contexts, and the device of the second.
pub struct Ends {
    pub here: (Rdma, Connection),
    pub there: (Rdma, Connection),
    pub other: Dpa,
}

/// The address of one of the NICs of a network, the first or the second, among those of this program.
pub fn address(network: u8, which: u8) -> IpAddr {
    addresses::of_this_program(100 + 2 * network + which).into()
}

/// Two connected contexts whose receives are the host's, at addresses of loopback that nobody else has, in this test program or in
/// one that runs at the same time.
pub fn ends(dpa: &Dpa, network: u8) -> Result<Ends, Error> {
    let open = |dpa: &Dpa, last| {
        let rdma = dpa
            .rdma()
            .address(address(network, last))
            .receive_queue(0)
            .send_queue(0)
            .open()?;
        let connection = rdma.export()?;
        Ok::<_, Error>((rdma, connection))
    };
    let other = dpa.open_beside()?;
    let (here, there) = (open(dpa, 1)?, open(&other, 2)?);
    here.1.connect(&there.1.blob())?;
    there.1.connect(&here.1.blob())?;
    Ok(Ends { here, there, other })
}
