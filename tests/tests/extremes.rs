//! Figures as large and as small as their types let them be: each is refused with what is allowed, or does what it says.

mod drivers;
mod places;

use std::net::IpAddr;
use std::time::Duration;

use doca_dpa::error::Error;
use doca_dpa::rdma::{HostBuffer, Rights};
use doca_dpa::{Dpa, Location, Sim, SyncEvent};
use drivers::both;
use flexio::{Chance, Device, DeviceConfig, NetworkSpec, UnitSet};
use tests::async_ops::{CopyTooMuchArgs, copy_too_much};

fn said<T: std::fmt::Debug, E: std::fmt::Display>(refused: Result<T, E>) -> String {
    refused.expect_err("it is refused").to_string()
}

#[test]
fn rule_4_3_a_copy_is_never_cut_short() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let bytes = dpa.zeroed::<u8>(64).await?;
        let at = ops.map(&bytes)?;
        let args = CopyTooMuchArgs {
            ops: &ops,
            done: ops.completions(),
            at: &at,
        };
        dpa.launch(copy_too_much).args(args).submit()?.await?;
        Ok(())
    });
}

#[test]
fn rule_1_1_a_host_write_that_is_refused_updates_no_event() {
    both(async |dpa| {
        let buffer = HostBuffer::new(64);
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Host)
            .subscriber(Location::Host)
            .in_host_memory(&buffer, 56)
            .create()?;
        let mut read = [7; 16];
        assert!(buffer.write(56, &[9; 16]).is_err());
        assert!(buffer.read(56, &mut read).is_err());
        assert_eq!((event.get(), read), (0, [7; 16]));
        buffer.write(56, &[9; 8])?;
        assert_eq!(event.get(), u64::from_ne_bytes([9; 8]));
        Ok(())
    });
}

#[test]
fn times_of_a_device_and_of_connections() {
    let config = DeviceConfig {
        spin: Duration::MAX,
        ..DeviceConfig::default()
    };
    let refused = said(Device::open(config));
    assert!(
        refused.contains("spin") && refused.contains("60000"),
        "{refused}"
    );
    both(async |dpa| {
        for interval in [Duration::ZERO, Duration::MAX] {
            let rdma = dpa.rdma().address(IpAddr::from([127, 0, 9, 1]));
            let refused = said(rdma.keep_alive(interval).open());
            assert!(refused.contains("keep-alive"), "{refused}");
            assert!(refused.contains("1 to 86400000"), "{refused}");
        }
        Ok(())
    });
}

#[test]
fn rule_2_10_a_time_that_never_comes_is_nothing_to_wait_for() {
    let sleeping = Sim::new(1).run(async |dpa| dpa.sleep(Duration::MAX).await);
    let waiting = Sim::new(1).run(async |dpa| {
        let event = places::everywhere(&dpa)?;
        event.ge(1).timeout(Duration::MAX).await?;
        Ok::<_, Error>(())
    });
    assert!(sleeping.is_err() && waiting.is_err(), "stuck, and said so");
}

#[test]
fn shapes_of_a_device() {
    let config = DeviceConfig {
        cores: 70_000,
        eus_per_core: 70_000,
        ..DeviceConfig::default()
    };
    assert_eq!(config.usable_eus(), u32::MAX - 2);
    let refused = said(Device::open(config));
    assert!(refused.contains("cores is 70000"), "{refused}");
    let units = UnitSet::from(0..=u32::MAX).to_string();
    assert_eq!(units, "0-65536", "one more than a device can have");
    let many = "0-65535,".repeat(1000) + "7";
    assert_eq!(
        many.parse::<UnitSet>().expect("units").to_string(),
        "0-65535"
    );
}

#[test]
fn addresses_and_names() {
    both(async |dpa| {
        for address in ["0.0.0.0", "::", "224.0.0.1"] {
            let rdma = dpa.rdma().address(address.parse()?).port(0);
            let refused = said(rdma.open());
            assert!(refused.contains("not one concrete address"), "{refused}");
        }
        let stream = dpa.message_stream().name("a\0b").to_writer(std::io::sink());
        drop(stream?);
        Ok(())
    });
}

#[test]
fn memory() {
    both(async |dpa| {
        for asked in [1 << 60, usize::MAX] {
            let refused = said(HostBuffer::try_new(asked));
            assert!(refused.contains(&asked.to_string()), "{refused}");
        }
        let words = dpa.zeroed::<u64>(4).await?;
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Host)
            .subscriber(Location::Host)
            .in_device_memory(&words.slice(2..2)?)
            .create();
        assert!(event.is_err());
        let refused = said(dpa.async_ops().queue(0).open());
        assert!(refused.contains("1 to 32768"), "{refused}");
        let rdma = dpa.rdma().address(IpAddr::from([127, 0, 9, 2])).open()?;
        let map = rdma.map_host(HostBuffer::new(0), Rights::REMOTE_READ)?;
        assert_eq!(map.map().len(), 0);
        Ok(())
    });
}

#[test]
fn networks() {
    for reorder in [Chance::NEVER, Chance::ALWAYS] {
        let network = NetworkSpec {
            least_latency: Duration::ZERO,
            most_latency: Duration::from_nanos(u64::MAX),
            longest_outage: Duration::MAX,
            reorder,
            ..NetworkSpec::default()
        };
        let run = Sim::new(3).network(network).run(async |dpa: Dpa| {
            let other = dpa.open_beside()?;
            let rdma = |dpa: &Dpa, last| dpa.rdma().address(IpAddr::from([10, 0, 0, last])).open();
            let (here, there) = (rdma(&dpa, 1)?, rdma(&other, 2)?);
            let (a, b) = (here.export()?, there.export()?);
            a.connect(&b.blob())?;
            b.connect(&a.blob())?;
            let map = there.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
            let remote = doca_dpa::rdma::RemoteMemoryMap::import(&map.map().export())?;
            let counted = a.fetch_add(&remote, 0, 1)?.await;
            Ok::<_, Error>(counted.is_ok())
        });
        // Answered after years, given up, or stuck: it ends.
        drop(run);
    }
}

#[test]
fn handles_of_events_that_there_are_not() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let process = device.process().expect("a process");
    for (index, generation) in [(u32::MAX, 1), (0, 1), (u32::MAX, u32::MAX)] {
        let handle = dpa_abi::EventHandle(dpa_abi::Handle { index, generation });
        assert_eq!(process.cancel_chain(handle), 0);
    }
}
