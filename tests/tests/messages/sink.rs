//! The sink of the tests.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A sink that keeps what it is given, can be held, and can be slow.
#[derive(Clone, Default)]
pub struct Sink {
    inner: Arc<Inner>,
    slow: Duration,
}

#[derive(Default)]
struct Inner {
    text: Mutex<Vec<u8>>,
    held: Mutex<bool>,
    moved: Condvar,
}

impl Sink {
    pub fn held() -> Self {
        let sink = Self::default();
        *sink.inner.held.lock().unwrap() = true;
        sink
    }

    pub fn slow(slow: Duration) -> Self {
        Self {
            slow,
            ..Self::default()
        }
    }

    pub fn release(&self) {
        *self.inner.held.lock().unwrap() = false;
        self.inner.moved.notify_all();
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.inner.text.lock().unwrap().clone()).expect("text")
    }

    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(Into::into).collect()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let held = self.inner.held.lock().unwrap();
        drop(self.inner.moved.wait_while(held, |held| *held).unwrap());
        std::thread::sleep(self.slow);
        self.inner.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
