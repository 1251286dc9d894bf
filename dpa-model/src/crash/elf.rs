//! The layout of a core file: ELF64, little-endian, `ET_CORE`.
//!
//! ```text
//! file header | program headers | notes | segments, each at a multiple of 64
//! ```
//!
//! The machine is the host's, not RISC-V: the kernels of the model are code of the host, so its registers and its
//! stack frames are what there is to be seen. Heap bytes are the same on both. Device addresses lie where no address of
//! a Linux program lies, so heap and stacks stand side by side in one address space.

use std::io::{self, Write};

const FILE_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const READ: u32 = 4;
const READ_WRITE: u32 = 6;
const ALIGN: u64 = 64;

/// `EM_X86_64`, `EM_AARCH64`, else `EM_NONE`.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else {
    0
};

/// Where a segment's bytes come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// The heap, at the segment's address.
    Heap,
}

/// A part of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) from: Source<'a>,
}

/// A note.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) owner: &'static str,
    pub(crate) kind: u32,
    pub(crate) content: Vec<u8>,
}

impl Note {
    pub(crate) fn size(&self) -> u64 {
        let name = self.owner.len() as u64 + 1;
        12 + name.next_multiple_of(4) + (self.content.len() as u64).next_multiple_of(4)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let name = self.owner.len() + 1;
        for word in [name as u32, self.content.len() as u32, self.kind] {
            out.extend(word.to_le_bytes());
        }
        out.extend(self.owner.as_bytes());
        pad(out, name.next_multiple_of(4) - self.owner.len());
        out.extend(&self.content);
        let content = self.content.len();
        pad(out, content.next_multiple_of(4) - content);
    }
}

fn pad(out: &mut Vec<u8>, bytes: usize) {
    out.resize(out.len() + bytes, 0);
}

/// Bytes that so many segments and these notes take, beside the bytes of the segments.
pub(crate) fn overhead(notes: &[Note], segments: usize) -> u64 {
    let notes: u64 = notes.iter().map(Note::size).sum();
    let headers = FILE_HEADER + PROGRAM_HEADER * (segments as u64 + 1);
    (headers + notes).next_multiple_of(ALIGN)
}

/// Writes a core file. `heap` fills in bytes of the heap from a device address on.
pub(crate) fn write(
    out: &mut impl Write,
    notes: &[Note],
    segments: &[Segment<'_>],
    mut heap: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(&head(notes, segments))?;
    let mut buffer = vec![0; 64 << 10];
    for segment in segments {
        match segment.from {
            Source::Bytes(bytes) => out.write_all(bytes)?,
            Source::Heap => copy(out, segment, &mut buffer, &mut heap)?,
        }
        let gap = segment.bytes.next_multiple_of(ALIGN) - segment.bytes;
        out.write_all(&[0; ALIGN as usize][..gap as usize])?;
    }
    out.flush()
}

fn copy(
    out: &mut impl Write,
    segment: &Segment<'_>,
    buffer: &mut [u8],
    heap: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < segment.bytes {
        let now = (segment.bytes - done).min(buffer.len() as u64) as usize;
        heap(segment.address + done, &mut buffer[..now])?;
        out.write_all(&buffer[..now])?;
        done += now as u64;
    }
    Ok(())
}

/// Everything before the first segment's bytes.
fn head(notes: &[Note], segments: &[Segment<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    file_header(&mut out, segments.len() as u16 + 1);
    let notes_at = FILE_HEADER + PROGRAM_HEADER * (segments.len() as u64 + 1);
    let notes_size = notes.iter().map(Note::size).sum();
    program_header(&mut out, PT_NOTE, READ, notes_at, 0, notes_size, 4);
    let mut at = (notes_at + notes_size).next_multiple_of(ALIGN);
    for segment in segments {
        let Segment { address, bytes, .. } = *segment;
        program_header(&mut out, PT_LOAD, READ_WRITE, at, address, bytes, ALIGN);
        at = (at + bytes).next_multiple_of(ALIGN);
    }
    notes.iter().for_each(|note| note.put(&mut out));
    let gap = out.len().next_multiple_of(ALIGN as usize) - out.len();
    pad(&mut out, gap);
    out
}

fn file_header(out: &mut Vec<u8>, headers: u16) {
    // Magic, 64 bits, little-endian, version 1, System V.
    out.extend(b"\x7fELF\x02\x01\x01\0");
    pad(out, 8);
    out.extend(ET_CORE.to_le_bytes());
    out.extend(MACHINE.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for offset in [0, FILE_HEADER, 0] {
        out.extend(offset.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for size in [FILE_HEADER as u16, PROGRAM_HEADER as u16, headers, 0, 0, 0] {
        out.extend(size.to_le_bytes());
    }
}

fn program_header(
    out: &mut Vec<u8>,
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    bytes: u64,
    align: u64,
) {
    out.extend(kind.to_le_bytes());
    out.extend(flags.to_le_bytes());
    let in_memory = if kind == PT_LOAD { bytes } else { 0 };
    for word in [offset, address, 0, bytes, in_memory, align] {
        out.extend(word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_what_is_written_before_the_bytes() {
        let note = |content: &[u8]| Note {
            owner: "CORE",
            kind: 1,
            content: content.to_vec(),
        };
        let notes = [note(b"12345"), note(b"")];
        let segments = [Segment {
            address: 64,
            bytes: 100,
            from: Source::Heap,
        }; 3];
        let mut file = Vec::new();
        write(&mut file, &notes, &segments, |_, out| {
            out.fill(7);
            Ok(())
        })
        .expect("memory");
        assert_eq!(file.len() as u64, overhead(&notes, 3) + 3 * 128);
        assert_eq!(file.iter().filter(|&&byte| byte == 7).count(), 300);
    }
}
