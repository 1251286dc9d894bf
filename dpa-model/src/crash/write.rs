//! Writes the two files of a report.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpa_abi::FaultKind;

use super::capture::Capture;
use super::elf::{self, Note, Segment, Source};
use super::file::{Files, Named, prefix_of};
use super::report::{CrashProblem, CrashReport};
use super::{CrashSpec, Target, notes, parts, text};
use crate::fault::Fault;
use crate::process::Process;

/// Segments of a core file at most.
const MOST_SEGMENTS: usize = 4096;
/// How long a core may take. What a single call of the system takes is not bounded by it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the report of a process that has become fatal; what could not be written is said.
pub(crate) fn write(
    process: &Process,
    fault: &Fault,
    capture: &Capture,
    target: &Target,
) -> CrashReport {
    let with_core = target.core_bytes >= CrashSpec::LEAST_CORE_BYTES;
    let prefix = prefix_of(&target.prefix, process);
    let files = match Files::make(&prefix, with_core) {
        Ok(files) => files,
        Err(problem) => return CrashReport::of(problem),
    };
    let plan = |named| (named, Core::plan(process, fault, capture, target));
    let core = files.core.map(|made| made.map(plan));
    let core_text = match &core {
        Some(Ok((named, core))) => core.describe(named),
        Some(Err(problem)) => problem.to_string(),
        None => "not asked for".into(),
    };
    let report_text = text::text(process, fault, capture, &core_text);
    let mut report = CrashReport::default();
    match write_text(&files.text, &report_text) {
        Ok(()) => report.text = Some(files.text.path.clone()),
        Err(problem) => report.problems.push(problem),
    }
    match core {
        Some(Ok((named, mut core))) => {
            report.left_out = core.left_out;
            core.put_text(&report_text);
            core.write_to(&named, process, &mut report);
        }
        Some(Err(problem)) => report.problems.push(problem),
        None => {}
    }
    report
}

/// Half a text is none.
fn write_text(named: &Named, text: &str) -> Result<(), CrashProblem> {
    let written = (&named.file).write_all(text.as_bytes());
    written.map_err(|error| {
        let _ = std::fs::remove_file(&named.path);
        named.problem(error)
    })
}

/// What a core file will have.
struct Core<'a> {
    notes: Vec<Note>,
    segments: Vec<Segment<'a>>,
    left_out: u64,
}

impl<'a> Core<'a> {
    /// As much as the limit allows: the stacks first, the faulted thread's before others', then the heap from its
    /// beginning.
    fn plan(process: &Process, fault: &Fault, capture: &'a Capture, target: &Target) -> Self {
        let auxiliary = notes::auxiliary();
        let page = notes::page_size(&auxiliary);
        let notes = notes::notes(signal(fault.kind), &capture.stacks, auxiliary);
        // A sixteenth of the file for headers, at most.
        let most = (target.core_bytes / (16 * 56)).clamp(1, MOST_SEGMENTS as u64) as usize;
        let stacks = capture
            .stacks
            .iter()
            .filter(|stack| !stack.bytes.is_empty());
        let stacks = stacks.map(|stack| Segment {
            address: stack.address,
            bytes: stack.bytes.len() as u64,
            from: Source::Bytes(&stack.bytes),
        });
        let heap = parts::parts(&process.heap, &capture.live, page, most)
            .into_iter()
            .map(|range| Segment {
                address: range.start,
                bytes: range.end - range.start,
                from: Source::Heap,
            });
        let all: Vec<_> = stacks.chain(heap).collect();
        let overhead = elf::overhead(&notes, all.len()) + notes::TEXT_BYTES as u64;
        let mut plan = Self {
            notes,
            segments: Vec::new(),
            left_out: 0,
        };
        plan.take(all, target.core_bytes.saturating_sub(overhead));
        plan
    }

    fn take(&mut self, all: Vec<Segment<'a>>, mut room: u64) {
        for mut segment in all {
            let fits = segment.bytes.min(room / 64 * 64);
            self.left_out += segment.bytes - fits;
            segment.bytes = fits;
            if let Source::Bytes(bytes) = segment.from {
                segment.from = Source::Bytes(&bytes[..fits as usize]);
            }
            room -= fits.next_multiple_of(64);
            if fits > 0 {
                self.segments.push(segment);
            }
        }
    }

    fn describe(&self, named: &Named) -> String {
        let path = named.path.display();
        match self.left_out {
            0 => path.to_string(),
            bytes => format!("{path} (cut: {bytes} bytes of memory left out)"),
        }
    }

    fn put_text(&mut self, text: &str) {
        let note = self.notes.iter_mut().find(|note| notes::is_text(note));
        if let Some(note) = note {
            *note = notes::text(text);
        }
    }

    fn write_to(&self, named: &Named, process: &Process, report: &mut CrashReport) {
        let begun = Instant::now();
        let read = |address: u64, out: &mut [u8]| {
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let cell = process.heap.within(address, out.len() as u64);
            cell.ok_or(io::ErrorKind::InvalidInput)?.copy_out(0, out);
            Ok(())
        };
        let mut out = BufWriter::new(&named.file);
        match elf::write(&mut out, &self.notes, &self.segments, read) {
            Ok(()) => report.core = Some(named.path.clone()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                report.core = Some(named.path.clone());
                report.problems.push(CrashProblem::TimeUp {
                    path: named.path.clone(),
                    after: PATIENCE,
                });
            }
            Err(source) => {
                // What was buffered is not tried again.
                let _ = out.into_parts();
                let _ = std::fs::remove_file(&named.path);
                report.problems.push(CrashProblem::Write {
                    path: named.path.clone(),
                    source: Arc::new(source),
                });
            }
        }
    }
}

/// The signal that says most nearly the same to a debugger.
fn signal(kind: FaultKind) -> i32 {
    match kind {
        FaultKind::Native { signal } => signal,
        FaultKind::OutOfRange { .. }
        | FaultKind::NotWritable { .. }
        | FaultKind::StackOverflow { .. } => libc::SIGSEGV,
        FaultKind::Unaligned { .. } => libc::SIGBUS,
        FaultKind::RunTimeExceeded { .. } => libc::SIGXCPU,
        _ => libc::SIGABRT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_5_2_a_text_that_cannot_be_written_is_not_left_half_written() {
        let name = format!("dpa-crash-{}-half", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "half").expect("a file");
        let file = std::fs::File::open(&path).expect("it");
        let named = Named { path, file };
        let problem = write_text(&named, "all of it").expect_err("it is open for reading");
        assert!(problem.to_string().contains("could not be written"));
        assert!(!named.path.exists());
    }
}
