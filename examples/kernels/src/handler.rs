//! A thread that runs once for each completion.

use doca_dpa_dev::prelude::*;

/// Copies block after block, and is started by the completion of each: posts the copy of the next, and when the last is
/// done, ends for good.
///
/// Its storage holds how many blocks have been posted, and how many have been copied. It may be started although nothing
/// new is complete (what it found while it ran had started it once more), so it looks and assumes nothing.
#[dpa_kernel]
pub fn copy_blocks(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    from: LocalMemory,
    to: LocalMemory,
    block: u32,
    progress: DevEvent,
) {
    let counts = match thread.bind_mut(thread.local_storage::<u64>(), 2) {
        Ok(storage) => storage,
        Err(kind) => thread.fault(kind),
    };
    loop {
        while let Ok(Some(completion)) = done.poll() {
            if completion.result().is_err() || progress.add(1).is_err() {
                thread.error(1);
            }
            counts.write(1, counts.read(1) + 1);
        }
        let (posted, copied) = (counts.read(0), counts.read(1));
        let at = posted * u64::from(block);
        if posted == copied && at >= from.len {
            thread.finish();
        }
        // Asked for before the copy is posted: its completion starts this thread again, however soon it comes.
        if done.request_notification() {
            continue;
        }
        if posted == copied {
            let len = u64::from(block).min(from.len - at) as u32;
            let copy = ops.copy(to.at(at, len), from.at(at, len), PostFlags::FLUSH);
            if copy.is_err() {
                thread.error(2);
            }
            counts.write(0, posted + 1);
        }
        return;
    }
}
