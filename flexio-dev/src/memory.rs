//! Registered memory as kernels name it: keys, addresses, buffer arrays. All of it is plain: it can stand in device
//! memory and in arguments, may lie, and is checked by the NIC at each use.

use dpa_abi::Pod;
use dpa_abi::pod::{Load, Store};

/// A plain struct of `u64` and `u32` fields, the wide ones first.
macro_rules! plain {
    ($name:ident, $size:literal: $($field:ident @ $at:literal $get:ident $put:ident),*) => {
        #[diagnostic::do_not_recommend]
        impl Pod for $name {
            const SIZE: usize = $size;
            const ALIGN: usize = 8;
            fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
                Self { $($field: from.$get(at + $at)),* }
            }
            fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
                $(to.$put(at + $at, self.$field);)*
            }
        }
    };
}

/// A memory map of this node: a registered range.
#[doc(alias = "doca_dpa_dev_mmap_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalMemory {
    /// Its first byte, as its key counts.
    pub base: u64,
    /// Its bytes.
    pub len: u64,
    /// Its local key.
    pub key: u32,
    /// Reserved.
    pub reserved: u32,
}

plain!(LocalMemory, 24: base @ 0 u64 put_u64, len @ 8 u64 put_u64, key @ 16 u32 put_u32, reserved @ 20 u32 put_u32);

impl LocalMemory {
    /// `len` bytes from `offset` on, if they lie in it.
    pub fn get(&self, offset: u64, len: u32) -> Option<Buf> {
        Some(Buf {
            address: within(self.base, self.len, offset, len)?,
            len,
            key: self.key,
        })
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Panics
    /// If they do not lie in it: a fault of the process.
    #[track_caller]
    pub fn at(&self, offset: u64, len: u32) -> Buf {
        match self.get(offset, len) {
            Some(buf) => buf,
            None => panic!(
                "{len} bytes at offset {offset} do not lie in a memory map of {} bytes",
                self.len
            ),
        }
    }
}

/// A range of registered memory of this node.
#[doc(alias = "doca_dpa_dev_buf_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buf {
    /// Its first byte, as the key counts.
    #[doc(alias = "doca_dpa_dev_buf_get_addr")]
    #[doc(alias = "doca_dpa_dev_buf_set_addr")]
    pub address: u64,
    /// Its bytes.
    #[doc(alias = "doca_dpa_dev_buf_get_len")]
    #[doc(alias = "doca_dpa_dev_buf_set_len")]
    pub len: u32,
    /// The local key.
    #[doc(alias = "doca_dpa_dev_buf_get_mmap")]
    #[doc(alias = "doca_dpa_dev_buf_set_mmap")]
    pub key: u32,
}

plain!(Buf, 16: address @ 0 u64 put_u64, len @ 8 u32 put_u32, key @ 12 u32 put_u32);

/// So many equal elements of a memory map, one behind the other.
#[doc(alias = "doca_dpa_dev_buf_arr_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufArray {
    /// The first byte of the first element, as the key counts.
    pub base: u64,
    /// How many elements.
    pub count: u32,
    /// Bytes of each.
    pub element: u32,
    /// The local key.
    pub key: u32,
    /// Reserved.
    pub reserved: u32,
}

plain!(BufArray, 24: base @ 0 u64 put_u64, count @ 8 u32 put_u32, element @ 12 u32 put_u32, key @ 16 u32 put_u32,
    reserved @ 20 u32 put_u32);

impl BufArray {
    /// How many elements it has.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The element at `index`, if there is one.
    #[doc(alias = "doca_dpa_dev_buf_array_get_buf")]
    pub fn get(&self, index: u32) -> Option<Buf> {
        let offset = u64::from(index) * u64::from(self.element);
        let address = self.base.checked_add(offset)?;
        (index < self.count).then_some(Buf {
            address,
            len: self.element,
            key: self.key,
        })
    }

    /// The element at `index`.
    ///
    /// # Panics
    /// If there is none: a fault of the process.
    #[track_caller]
    pub fn at(&self, index: u32) -> Buf {
        match self.get(index) {
            Some(buf) => buf,
            None => panic!(
                "a buffer array of {} elements has no element {index}",
                self.count
            ),
        }
    }
}

/// A memory map of a peer, as it was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteMemory {
    /// Its first byte, as its key counts.
    pub base: u64,
    /// Its bytes.
    pub len: u64,
    /// Its remote key.
    pub key: u32,
    /// Reserved.
    pub reserved: u32,
}

plain!(RemoteMemory, 24: base @ 0 u64 put_u64, len @ 8 u64 put_u64, key @ 16 u32 put_u32, reserved @ 20 u32 put_u32);

impl RemoteMemory {
    /// The place of `len` bytes from `offset` on, if they lie in it.
    pub fn get(&self, offset: u64, len: u32) -> Option<RemoteBuf> {
        Some(RemoteBuf {
            address: within(self.base, self.len, offset, len)?,
            key: self.key,
            len,
        })
    }

    /// The place of `len` bytes from `offset` on.
    ///
    /// # Panics
    /// If they do not lie in it: a fault of the process.
    #[track_caller]
    pub fn at(&self, offset: u64, len: u32) -> RemoteBuf {
        match self.get(offset, len) {
            Some(buf) => buf,
            None => panic!(
                "{len} bytes at offset {offset} do not lie in a remote memory map of {} bytes",
                self.len
            ),
        }
    }
}

/// A range of a peer's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteBuf {
    /// Its first byte, as the key counts.
    pub address: u64,
    /// The remote key.
    pub key: u32,
    /// Its bytes.
    pub len: u32,
}

plain!(RemoteBuf, 16: address @ 0 u64 put_u64, key @ 8 u32 put_u32, len @ 12 u32 put_u32);

/// A sync event of a peer, as it was exported: what `signal_set` and `signal_add` update.
#[doc(alias = "doca_dpa_dev_sync_event_remote_net_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteEvent {
    /// The address of its counter, as the key counts.
    pub address: u64,
    /// The key.
    pub key: u32,
    /// Reserved.
    pub reserved: u32,
}

plain!(RemoteEvent, 16: address @ 0 u64 put_u64, key @ 8 u32 put_u32, reserved @ 12 u32 put_u32);

/// The address of `len` bytes at `offset`, if they lie in a range, and the range below 2^64 so far: it may say anything.
fn within(base: u64, size: u64, offset: u64, len: u32) -> Option<u64> {
    let end = offset.checked_add(len.into())?;
    base.checked_add(end)?;
    (end <= size).then_some(base + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_4_5_elements_are_checked_against_their_number() {
        let array = BufArray {
            base: 4096,
            count: 4,
            element: 64,
            key: 9,
            reserved: 0,
        };
        let third = Buf {
            address: 4096 + 192,
            len: 64,
            key: 9,
        };
        assert_eq!(array.get(3), Some(third));
        assert_eq!(array.get(4), None);
    }

    #[test]
    #[should_panic(expected = "has no element 4")]
    fn rule_4_5_an_element_outside_is_a_fault() {
        BufArray {
            count: 4,
            ..BufArray::default()
        }
        .at(4);
    }

    #[test]
    fn ranges_of_a_map_are_checked() {
        let map = LocalMemory {
            base: 0,
            len: 100,
            key: 1,
            reserved: 0,
        };
        assert!(map.get(100, 0).is_some());
        assert!(map.get(99, 2).is_none());
        assert!(map.get(u64::MAX, 1).is_none());
    }

    #[test]
    fn no_address_is_beyond_the_end_of_all_whatever_a_map_says() {
        let base = u64::MAX - 10;
        let map = LocalMemory {
            base,
            len: 100,
            key: 1,
            reserved: 0,
        };
        let remote = RemoteMemory {
            base,
            len: 100,
            ..RemoteMemory::default()
        };
        assert_eq!(map.get(2, 8).map(|buf| buf.address), Some(u64::MAX - 8));
        assert_eq!(remote.get(2, 8).map(|buf| buf.address), Some(u64::MAX - 8));
        for (offset, len) in [(50, 1), (10, 8)] {
            assert_eq!(map.get(offset, len), None);
            assert_eq!(remote.get(offset, len), None);
        }
        let array = BufArray {
            base,
            count: u32::MAX,
            element: u32::MAX,
            ..BufArray::default()
        };
        assert_eq!(array.get(0).map(|buf| buf.address), Some(base));
        assert_eq!(array.get(1), None);
        assert_eq!(array.get(u32::MAX - 1), None);
    }
}
