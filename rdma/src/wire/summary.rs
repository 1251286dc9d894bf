//! A packet in a line.

use std::fmt;

use super::{Body, Opcode, Packet, PacketView};

/// Shows a packet in a line, whatever is in it.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(pub &'a [u8]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.len();
        let Some(view) = PacketView::new(self.0) else {
            return write!(f, "{len} bytes that are no packet");
        };
        let (bth, code) = (view.bth(), self.0[0]);
        match Opcode::from_code(code) {
            Some(opcode) => write!(f, "{opcode:?}")?,
            None => write!(f, "opcode {code:#04x}")?,
        }
        let (destination, psn) = (bth.destination(), bth.psn().value());
        write!(f, " to {destination:#x}, PSN {psn}, {len} bytes")?;
        match Packet::try_from(view).map(|packet| packet.header.body) {
            Ok(Body::Acknowledge(aeth)) => write!(f, ", {:?}", aeth.syndrome),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_have_a_line() {
        assert_eq!(Summary(&[]).to_string(), "0 bytes that are no packet");
        for code in 0..=255 {
            let mut bytes = [0; 20];
            (bytes[0], bytes[7], bytes[11]) = (code, 9, 5);
            let line = Summary(&bytes).to_string();
            assert!(line.contains(" to 0x9, PSN 5, 20 bytes"), "{line}");
        }
    }
}
