//! Global variables of device code, as the host sees them.

use dpa_abi::global::Global;
use dpa_abi::{DevAddr, Pod};

use crate::buffer::open;
use crate::dpa::Dpa;
use crate::error::MemoryError;

/// A global variable of device code in one context.
#[derive(Debug)]
pub struct GlobalRef<'d, T> {
    dpa: &'d Dpa,
    addr: DevAddr<T>,
}

impl Dpa {
    /// The global variable of this declaration, of which this context has its own. It is initialised when it is first
    /// reached, by the host or by a kernel.
    ///
    /// # Errors
    /// Out of memory; the context is closed.
    pub fn global<T: Pod + Sync>(
        &self,
        global: &'static Global<T>,
    ) -> Result<GlobalRef<'_, T>, MemoryError> {
        open(self.process())?;
        let addr = self.process().global(global)?;
        Ok(GlobalRef {
            dpa: self,
            addr: DevAddr::from_raw(addr),
        })
    }
}

impl<T: Pod> GlobalRef<'_, T> {
    /// Its address.
    pub fn addr(&self) -> DevAddr<T> {
        self.addr
    }

    /// Its value now.
    ///
    /// # Errors
    /// The context is closed.
    pub fn read(&self) -> Result<T, MemoryError> {
        let process = self.dpa.process();
        open(process)?;
        let mut bytes = vec![0; T::SIZE];
        process.read(self.addr.raw(), &mut bytes)?;
        let mut value = [T::zeroed()];
        T::decode_slice(&bytes, &mut value);
        Ok(value[0])
    }

    /// Gives it another value.
    ///
    /// # Errors
    /// The context is closed.
    pub fn write(&self, value: T) -> Result<(), MemoryError> {
        let process = self.dpa.process();
        open(process)?;
        let mut bytes = vec![0; T::SIZE];
        T::encode_slice(&[value], &mut bytes);
        Ok(process.write(self.addr.raw(), &bytes)?)
    }
}
