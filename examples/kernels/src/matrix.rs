//! One cell of a matrix product, as a job of a command queue.

use doca_dpa_dev::prelude::*;

/// Rows and columns.
pub const SIDE: usize = 5;
/// Cells of a matrix.
pub const CELLS: usize = SIDE * SIDE;

/// Computes cell `index` of the product of two matrices that lie at `at`, one behind the other; it goes behind them.
#[dpa_kernel]
pub fn multiply_cell(thread: &Thread, at: DevAddr<i64>, index: u64) {
    let all = match thread.bind_mut(at, 3 * CELLS) {
        Ok(all) => all,
        Err(kind) => thread.fault(kind),
    };
    let (row, column) = (index as usize / SIDE, index as usize % SIDE);
    let term = |k: usize| all.read(row * SIDE + k) * all.read(CELLS + k * SIDE + column);
    all.write(2 * CELLS + index as usize, (0..SIDE).map(term).sum());
}
