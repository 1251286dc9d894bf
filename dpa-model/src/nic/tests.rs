//! Who works a NIC, and for how long.

use super::*;

/// One on a network, whose thread does not run.
fn nic() -> Arc<DeviceNic> {
    let options = Options {
        port: 0,
        ..Options::default()
    };
    let address = IpAddr::from([127, 0, 0, 1]);
    let nic = DeviceNic::open(Asked::Soft, address, &options, 1).expect("a free port");
    let nic = Arc::new(nic);
    nic.engine.lock().world.nic = Arc::downgrade(&nic);
    nic
}

/// As if another rang whenever somebody has looked.
fn rings_again(engine: &mut Engine, _: Duration) -> bool {
    let nic = engine.world.nic.upgrade().expect("it is at work");
    nic.remember(Qpn::new(7).expect("a number"));
    assert!(!nic.bell.ring(), "somebody works");
    true
}

#[test]
fn who_rings_is_not_kept_by_others_that_ring_without_end() {
    let nic = nic();
    assert!(nic.bell.ring());
    let _ = nic.work(0, rings_again);
    assert!(nic.bell.is_rung(), "its thread is to look");
    // The next who looks finds it.
    let looked = nic.poll(0);
    assert!(looked.worked);
    assert!(!nic.bell.is_rung());
    assert!(nic.rung.is_empty());
}

#[test]
fn who_rings_next_works_what_was_left() {
    let nic = nic();
    assert!(nic.bell.ring());
    let _ = nic.work(0, rings_again);
    assert!(!nic.ring(0, Qpn::new(8).expect("a number")));
    assert!(!nic.bell.is_rung() && nic.rung.is_empty());
}
