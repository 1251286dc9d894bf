//! Exported blobs: golden bytes, and that nothing invalid comes out of foreign ones.

use rdma::codec::{DecodeError, MAX_BLOB};
use rdma::config::AckTimeout;
use rdma::connection::{
    AtomicCapability, ConnectionInfo, Features, Incompatible, NicKind, RemoteEvent, RemoteRegion,
};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::region::{RemoteKey, Rights};
use rdma::wire::RnrTimer;

fn info() -> ConnectionInfo {
    ConnectionInfo {
        kind: NicKind::Soft,
        address: "127.0.0.2".parse().unwrap(),
        udp_port: 4791,
        queue_pair: Qpn::new(0x01_0203).unwrap(),
        first_psn: Psn::new(0xff_fffe),
        mtu: PathMtu::B4096,
        initiator_depth: 16,
        responder_resources: 8,
        rnr_timer: RnrTimer::from_code(12).unwrap(),
        timeout: AckTimeout::from_code(14).unwrap(),
        receive_budget: Some(51),
        atomics: AtomicCapability::Nic,
        features: Features::SEGMENTS | Features::INVALIDATE,
        nonce: *b"0123456789abcdef",
        echo: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes_of_connection_data() {
    let golden = concat!(
        "64706152",
        "0100",
        "0100",
        "00",
        "00000000000000000000ffff7f000002",
        "b712",
        "03020100",
        "feffff00",
        "0010",
        "10",
        "08",
        "0c",
        "0e",
        "33000000",
        "01",
        "0500000000000000",
        "30313233343536373839616263646566",
        "00000000000000000000000000000000",
    );
    assert_eq!(hex(&info().to_blob()), golden);
    assert_eq!(ConnectionInfo::from_blob(&info().to_blob()), Ok(info()));
}

#[test]
fn golden_bytes_of_a_region_and_an_event() {
    let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE;
    let region = RemoteRegion {
        key: RemoteKey(0x0102_0304),
        base: 0,
        len: 4096,
        rights,
    };
    assert_eq!(
        hex(&region.to_blob()),
        "6470615202000100040302010000000000000000001000000000000006000000"
    );
    assert_eq!(RemoteRegion::from_blob(&region.to_blob()), Ok(region));
    let event = RemoteEvent {
        key: RemoteKey(5),
        address: 16,
    };
    assert_eq!(
        hex(&event.to_blob()),
        "6470615203000100050000001000000000000000"
    );
    assert_eq!(RemoteEvent::from_blob(&event.to_blob()), Ok(event));
}

#[test]
fn every_field_survives() {
    let other = ConnectionInfo {
        kind: NicKind::Verbs,
        address: "fe80::1".parse().unwrap(),
        receive_budget: None,
        atomics: AtomicCapability::Global,
        features: Features::empty(),
        echo: Some([9; 16]),
        ..info()
    };
    assert_eq!(ConnectionInfo::from_blob(&other.to_blob()), Ok(other));
}

#[test]
fn local_rights_are_not_told() {
    let all = RemoteRegion {
        key: RemoteKey(1),
        base: 0,
        len: 1,
        rights: Rights::all(),
    };
    let told = RemoteRegion::from_blob(&all.to_blob()).unwrap();
    assert!(!told.rights.contains(Rights::LOCAL_WRITE));
    assert!(told.rights.contains(Rights::REMOTE_ATOMIC));
}

#[test]
fn wrong_headers_have_their_own_errors() {
    let blob = info().to_blob();
    let with = |at: usize, byte: u8| {
        let mut bytes = blob.clone();
        bytes[at] = byte;
        ConnectionInfo::from_blob(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0), DecodeError::Magic);
    assert!(matches!(with(4, 2), DecodeError::Kind { found: 2, .. }));
    assert_eq!(with(6, 9), DecodeError::Version { found: 9, known: 1 });
    let long = vec![0; MAX_BLOB + 1];
    assert_eq!(
        ConnectionInfo::from_blob(&long),
        Err(DecodeError::TooLong { len: MAX_BLOB + 1 })
    );
}

#[test]
fn truncated_or_longer_blobs_are_damaged() {
    let blob = info().to_blob();
    for len in 0..blob.len() {
        assert!(ConnectionInfo::from_blob(&blob[..len]).is_err(), "{len}");
    }
    let longer = [&blob[..], &[0]].concat();
    assert!(matches!(
        ConnectionInfo::from_blob(&longer),
        Err(DecodeError::Damaged { .. })
    ));
}

#[test]
fn invalid_fields_are_named() {
    let blob = info().to_blob();
    let field = |at: usize, bytes: &[u8]| {
        let mut blob = blob.clone();
        blob[at..at + bytes.len()].copy_from_slice(bytes);
        match ConnectionInfo::from_blob(&blob) {
            Err(DecodeError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(8, &[7]), "kind");
    assert_eq!(field(9, &[0; 16]), "gid");
    assert_eq!(field(25, &[0, 0]), "udp_port");
    assert_eq!(field(27, &[1, 0, 0, 0]), "queue_pair");
    assert_eq!(field(31, &[0, 0, 0, 1]), "first_psn");
    assert_eq!(field(35, &[1, 1]), "mtu");
    assert_eq!(field(39, &[32]), "rnr_timer");
    assert_eq!(field(40, &[99]), "timeout");
    assert_eq!(field(45, &[3]), "atomics");
    let mut region = RemoteRegion {
        key: RemoteKey(1),
        base: 8,
        len: 1,
        rights: Rights::empty(),
    }
    .to_blob();
    region[20..28].fill(0xff);
    assert!(matches!(
        RemoteRegion::from_blob(&region),
        Err(DecodeError::Field { field: "len", .. })
    ));
    let mut event = RemoteEvent {
        key: RemoteKey(1),
        address: 8,
    }
    .to_blob();
    event[12] = 4;
    assert!(matches!(
        RemoteEvent::from_blob(&event),
        Err(DecodeError::Field {
            field: "address",
            ..
        })
    ));
}

#[test]
fn any_changed_byte_is_an_error_or_a_valid_value() {
    let blob = info().to_blob();
    for at in 0..blob.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut bytes = blob.clone();
            bytes[at] = byte;
            if let Ok(info) = ConnectionInfo::from_blob(&bytes) {
                assert_eq!(ConnectionInfo::from_blob(&info.to_blob()), Ok(info));
            }
        }
    }
}

#[test]
fn offers_are_agreed_on() {
    let ours = info();
    let theirs = ConnectionInfo {
        address: "127.0.0.3".parse().unwrap(),
        mtu: PathMtu::B1024,
        queue_pair: Qpn::new(99).unwrap(),
        ..info()
    };
    let peer = ours.agree(&theirs).unwrap();
    assert_eq!(
        (peer.mtu, peer.budget, peer.responder_resources),
        (PathMtu::B1024, 51, 8)
    );
    assert_eq!(peer.path.destination(), theirs.socket());
    assert_eq!(
        (peer.number, peer.max_identification),
        (theirs.queue_pair, 127)
    );
    assert_eq!(peer.max_segments, 128);
    let unknown = ConnectionInfo {
        kind: NicKind::Verbs,
        receive_budget: None,
        features: Features::empty(),
        mtu: PathMtu::B4096,
        ..theirs.clone()
    };
    let peer = ours.agree(&unknown).unwrap();
    assert_eq!(
        (peer.mtu, peer.max_identification),
        (PathMtu::B1024, u16::MAX)
    );
    assert_eq!(peer.max_segments, 1);
    let back = unknown.agree(&ours).unwrap();
    assert_eq!(back.mtu, peer.mtu, "both sides come to the same");
    let v6 = ConnectionInfo {
        address: "::1".parse().unwrap(),
        ..theirs.clone()
    };
    assert!(matches!(
        ours.agree(&v6),
        Err(Incompatible::Families { .. })
    ));
    let stale = ConnectionInfo {
        echo: Some([1; 16]),
        ..theirs.clone()
    };
    assert_eq!(ours.agree(&stale).unwrap_err(), Incompatible::Nonce);
    let fresh = ConnectionInfo {
        echo: Some(ours.nonce),
        ..theirs
    };
    assert!(ours.agree(&fresh).is_ok());
}

#[test]
fn a_remote_region_gives_only_what_lies_in_it() {
    let region = RemoteRegion {
        key: RemoteKey(1),
        base: 64,
        len: 100,
        rights: Rights::REMOTE_WRITE,
    };
    assert_eq!(region.at(36, 64).map(|at| at.address), Some(100));
    assert_eq!(region.at(37, 64), None);
    assert_eq!(region.at(u64::MAX, 2), None);
}
