//! Exported blobs: bytes are refused, or are a value whose own blob decodes to the same value.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use rdma::codec::{DecodeError, MAX_BLOB};
use rdma::connection::{ConnectionInfo, RemoteEvent, RemoteRegion};

fn decode<T: Debug + PartialEq>(
    bytes: &[u8],
    from_blob: fn(&[u8]) -> Result<T, DecodeError>,
    to_blob: fn(&T) -> Vec<u8>,
) -> Option<T> {
    let decoded = from_blob(bytes);
    if bytes.len() > MAX_BLOB {
        let len = bytes.len();
        assert_eq!(decoded, Err(DecodeError::TooLong { len }));
    }
    let value = decoded.ok()?;
    assert_eq!(from_blob(&to_blob(&value)).as_ref(), Ok(&value));
    Some(value)
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(info) = decode(bytes, ConnectionInfo::from_blob, ConnectionInfo::to_blob) {
        assert!(
            info.udp_port != 0 && !info.address.is_multicast(),
            "{info:?}"
        );
    }
    if let Some(region) = decode(bytes, RemoteRegion::from_blob, RemoteRegion::to_blob) {
        assert!(region.base.checked_add(region.len).is_some(), "{region:?}");
    }
    if let Some(event) = decode(bytes, RemoteEvent::from_blob, RemoteEvent::to_blob) {
        assert_eq!(event.address % 8, 0, "{event:?}");
    }
});
