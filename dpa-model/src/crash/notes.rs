//! What the notes of a core file say: processes and registers, in the kernel's own layouts (`elfcore.h`).

use super::elf::Note;
use super::stack::{COUNT, StackCopy};

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;

/// The owner of our own note: kind 1 is the crash text.
pub(crate) const OWNER: &str = "DOCA-DPA";
const CRASH_TEXT: u32 = 1;

/// Bytes of the text that the core has too.
pub(crate) const TEXT_BYTES: usize = 16 << 10;

/// Key of the page size in the auxiliary vector.
const AT_PAGESZ: u64 = 6;

/// The auxiliary vector, by which a debugger finds where the program was loaded; empty if the system does not say.
pub(crate) fn auxiliary() -> Vec<u8> {
    let vector = std::fs::read("/proc/self/auxv").unwrap_or_default();
    vector.into_iter().take(4096).collect()
}

/// The size of a page, by the auxiliary vector.
pub(crate) fn page_size(auxiliary: &[u8]) -> u64 {
    let word = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).map_or(0, u64::from_le_bytes);
    auxiliary
        .chunks_exact(16)
        .find(|pair| word(&pair[..8]) == AT_PAGESZ)
        .map_or(4096, |pair| word(&pair[8..]))
        .max(4096)
}

/// The notes, with an empty text.
pub(crate) fn notes(signal: i32, stacks: &[StackCopy], auxiliary: Vec<u8>) -> Vec<Note> {
    let core = |kind, content| Note {
        owner: "CORE",
        kind,
        content,
    };
    let mut threads = stacks.iter().zip(1..).map(|(stack, number)| {
        // The same of each, as in the system's own core files.
        core(
            NT_PRSTATUS,
            status(number, signal, &stack.registers.values()),
        )
    });
    let nobody = || core(NT_PRSTATUS, status(1, signal, &[0; COUNT]));
    let mut notes = vec![
        threads.next().unwrap_or_else(nobody),
        core(NT_PRPSINFO, process()),
        core(NT_AUXV, auxiliary),
        text(""),
    ];
    notes.extend(threads);
    notes
}

/// The note that has the text, as far as there is room.
pub(crate) fn text(text: &str) -> Note {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Note {
        owner: OWNER,
        kind: CRASH_TEXT,
        content: text[..end].into(),
    }
}

/// Whether it is the note with the text.
pub(crate) fn is_text(note: &Note) -> bool {
    note.owner == OWNER
}

/// `struct elf_prstatus`.
fn status(thread: u32, signal: i32, registers: &[u64; COUNT]) -> Vec<u8> {
    let mut out = vec![0; 112];
    out[..4].copy_from_slice(&signal.to_le_bytes());
    out[12..14].copy_from_slice(&(signal as i16).to_le_bytes());
    out[32..36].copy_from_slice(&thread.to_le_bytes());
    out[36..40].copy_from_slice(&std::process::id().to_le_bytes());
    out.extend(registers.iter().flat_map(|register| register.to_le_bytes()));
    // No floating-point registers; and to a multiple of 8.
    out.extend([0; 8]);
    out
}

/// `struct elf_prpsinfo`.
fn process() -> Vec<u8> {
    let mut out = vec![0; 136];
    out[1] = b'R';
    let program = std::process::id();
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    for (at, value) in [(16, user), (20, group), (24, program)] {
        out[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    put(&mut out[40..55], name);
    put(&mut out[56..135], path.as_os_str().as_encoded_bytes());
    out
}

fn put(to: &mut [u8], text: &[u8]) {
    let len = text.len().min(to.len());
    to[..len].copy_from_slice(&text[..len]);
}
