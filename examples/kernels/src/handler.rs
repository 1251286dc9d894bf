//! A thread that runs once for each completion.

use doca_dpa_dev::prelude::*;

/// Copies block after block, and is started by the completion of each: posts the copy of the next, and when the last is
/// done, ends for good.
///
/// Its storage holds how many blocks have been copied.
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
    let copied = match thread.bind_mut(thread.local_storage::<u64>(), 1) {
        Ok(storage) => storage,
        Err(kind) => thread.fault(kind),
    };
    loop {
        while let Ok(Some(completion)) = done.poll() {
            if completion.result().is_err() || progress.add(1).is_err() {
                thread.error(1);
            }
            copied.write(0, copied.read(0) + 1);
        }
        let at = copied.read(0) * u64::from(block);
        if at >= from.len {
            thread.finish();
        }
        let len = u64::from(block).min(from.len - at) as u32;
        if ops
            .copy(to.at(at, len), from.at(at, len), PostFlags::FLUSH)
            .is_err()
        {
            thread.error(2);
        }
        if !done.request_notification() {
            return;
        }
    }
}
