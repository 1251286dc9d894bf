//! The packet parser: bytes are refused, or are a packet that is sent as the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rdma::wire::{IcrcVerifier, MAX_PACKET, MIN_PACKET, Packet, PacketView, Path};

fuzz_target!(|bytes: &[u8]| {
    let possible =
        (MIN_PACKET..=MAX_PACKET).contains(&bytes.len()) && bytes.len().is_multiple_of(4);
    let view = PacketView::new(bytes);
    assert_eq!(view.is_some(), possible, "{} bytes", bytes.len());
    let Some(view) = view else { return };
    let path = |from: &str, to: &str| {
        Path::new(from.parse().unwrap(), to.parse().unwrap()).expect("one family")
    };
    let mut verifier = IcrcVerifier::new();
    let path = path("10.0.0.1:4791", "10.0.0.2:9");
    let _any = verifier.identification(&path, view);
    let Ok(packet) = Packet::try_from(view) else {
        return;
    };
    assert_eq!(packet.len(), bytes.len());
    let mut again = vec![0; packet.len()];
    packet.emit(&path, 5, &mut again);
    let view = PacketView::new(&again).expect("a packet of ours");
    assert_eq!(verifier.identification(&path, view), Some(5));
    assert_eq!(Packet::try_from(view), Ok(packet));
});
