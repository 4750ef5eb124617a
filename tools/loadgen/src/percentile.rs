//! Percentiles of what was measured.

/// The percentile of sorted values by the nearest rank, of 1 to 100 percent; none when there are no values.
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
