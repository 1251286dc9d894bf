//! Which parts of a heap are worth writing: the pages that hold live allocations and have been touched.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use dpa_abi::HEAP_BASE;

use crate::heap::Heap;

/// What `/proc/self/pagemap` says of a page that is in memory or was moved out of it.
const TOUCHED: u64 = 0b11 << 62;

/// What is allocated now, ascending, in steps of 4 KiB: what is freed while the report is written is in it all the same.
pub(crate) fn live(heap: &Heap) -> Vec<Range<u64>> {
    rounded(heap, heap.live_ranges(), 4096)
}

/// The parts of what was allocated that have been touched: ranges of device addresses, ascending, at most `most`. Where
/// there would be more, what lies between is written too.
pub(crate) fn parts(heap: &Heap, live: &[Range<u64>], page: u64, most: usize) -> Vec<Range<u64>> {
    let live = rounded(heap, live.to_vec(), page);
    let touched = match File::open("/proc/self/pagemap") {
        Ok(map) => live
            .iter()
            .flat_map(|range| touched(&map, heap, page, range))
            .collect(),
        Err(_) => live,
    };
    at_most(touched, page, most)
}

/// The same in whole pages.
fn rounded(heap: &Heap, ranges: Vec<Range<u64>>, page: u64) -> Vec<Range<u64>> {
    let end = HEAP_BASE + heap.bytes();
    let up = |addr: u64| ((addr - HEAP_BASE).next_multiple_of(page) + HEAP_BASE).min(end);
    let down = |addr: u64| (addr - HEAP_BASE) / page * page + HEAP_BASE;
    let pages = ranges
        .into_iter()
        .map(|range| down(range.start)..up(range.end));
    join(pages, 0)
}

/// The touched pages of a range; all of it, if the system does not say.
fn touched(map: &File, heap: &Heap, page: u64, range: &Range<u64>) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let mut entries = [0u8; 4096];
    let pages = (range.end - range.start).div_ceil(page);
    let first = (heap.native_base() + (range.start - HEAP_BASE)) / page;
    let mut done = 0;
    while done < pages {
        let now = (pages - done).min(512);
        let bytes = &mut entries[..now as usize * 8];
        if map.read_exact_at(bytes, (first + done) * 8).is_err() {
            return vec![range.clone()];
        }
        let is_touched = |entry: &[u8]| {
            let entry = <[u8; 8]>::try_from(entry).map_or(0, u64::from_le_bytes);
            entry & TOUCHED != 0
        };
        let touched = bytes
            .chunks_exact(8)
            .zip(done..)
            .filter(|(entry, _)| is_touched(entry))
            .map(|(_, nth)| {
                let start = range.start + nth * page;
                start..(start + page).min(range.end)
            });
        found.extend(touched);
        done += now;
    }
    join(found, 0)
}

/// Joins ranges, which ascend, that overlap or have at most `gap` bytes between them.
fn join(ranges: impl IntoIterator<Item = Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn at_most(mut ranges: Vec<Range<u64>>, page: u64, most: usize) -> Vec<Range<u64>> {
    let mut gap = page;
    while ranges.len() > most.max(1) {
        ranges = join(ranges, gap);
        gap = gap.saturating_mul(2);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Epochs;

    #[test]
    fn only_touched_pages_of_live_allocations_are_parts() {
        let (heap, epochs) = (Heap::new(1 << 20, false).expect("room"), Epochs::default());
        let addr = heap.alloc(&epochs, 64 * 4096, false).expect("room");
        heap.checked(addr + 5 * 4096, 8).expect("live").fill(1);
        heap.checked(addr + 6 * 4096, 8).expect("live").fill(1);
        let live = live(&heap);
        heap.free(&epochs, addr);
        let parts = parts(&heap, &live, 4096, 100);
        let touched = addr + 5 * 4096..addr + 7 * 4096;
        assert_eq!(parts, std::slice::from_ref(&touched));
        assert_eq!(super::live(&heap), []);
    }

    #[test]
    fn the_number_of_parts_is_bounded_and_they_hold_everything() {
        let ranges: Vec<_> = (0..1000u64).map(|n| n * 9000..n * 9000 + 100).collect();
        let parts = at_most(ranges.clone(), 4096, 10);
        assert!(parts.len() <= 10);
        let within = |r: &Range<u64>| parts.iter().any(|p| p.start <= r.start && r.end <= p.end);
        assert!(ranges.iter().all(within));
    }
}
