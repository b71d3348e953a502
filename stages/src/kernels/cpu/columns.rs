//! Sums and moments over the rows of a matrix, column by column.

use rayon::prelude::*;

use crate::kernels::float::Real;

/// The number of rows of one part. It is fixed, because it decides the order of the sums.
const ROWS: usize = 256;

/// The first `width` columns of a row-major matrix whose rows are `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) stride: usize,
    pub(crate) width: usize,
}

/// The sum of every column, in f64.
pub(crate) fn column_sums<T: Real>(matrix: Columns<T>) -> Vec<f64> {
    let parts: Vec<Vec<f64>> =
        matrix.values.par_chunks(ROWS * matrix.stride).map(|rows| part_sums(rows, matrix)).collect();
    let mut sums = vec![0.0; matrix.width];
    for part in &parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums
}

fn part_sums<T: Real>(rows: &[T], matrix: Columns<T>) -> Vec<f64> {
    let mut sums = vec![0.0; matrix.width];
    for row in rows.chunks(matrix.stride) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value.to_f64();
        }
    }
    sums
}

/// The mean and the biased variance of every column over its rows and further rows. `extra` gives the further rows as
/// (values of a row, number of times).
///
/// Each part takes its own mean, and then the squares around it while the part lies in the cache. Parts are joined in
/// order, by the formula of Chan, Golub and LeVeque (1979).
pub(crate) fn column_moments<T: Real>(
    matrix: Columns<T>,
    extra: Option<(&[f64], f64)>,
) -> (Vec<f64>, Vec<f64>) {
    let parts: Vec<(f64, Vec<f64>, Vec<f64>)> = matrix
        .values
        .par_chunks(ROWS * matrix.stride)
        .map(|rows| {
            let count = (rows.len() / matrix.stride) as f64;
            let mut mean = part_sums(rows, matrix);
            mean.iter_mut().for_each(|sum| *sum /= count);
            let mut squares = vec![0.0; matrix.width];
            for row in rows.chunks(matrix.stride) {
                for ((square, mean), value) in squares.iter_mut().zip(&mean).zip(row) {
                    let distance = value.to_f64() - mean;
                    *square += distance * distance;
                }
            }
            (count, mean, squares)
        })
        .collect();
    let mut total = 0.0;
    let (mut mean, mut squares) = (vec![0.0; matrix.width], vec![0.0; matrix.width]);
    let mut join = |count: f64, part_mean: &[f64], part_squares: Option<&[f64]>| {
        let share = count / (total + count);
        for column in 0..matrix.width {
            let distance = part_mean[column] - mean[column];
            mean[column] += distance * share;
            squares[column] +=
                part_squares.map_or(0.0, |part| part[column]) + distance * distance * total * share;
        }
        total += count;
    };
    for (count, part_mean, part_squares) in &parts {
        join(*count, part_mean, Some(part_squares));
    }
    if let Some((row, count)) = extra.filter(|(_, count)| *count > 0.0) {
        join(count, row, None);
    }
    squares.iter_mut().for_each(|square| *square /= total);
    (mean, squares)
}

/// Adds `row` to every row of a matrix, in place.
pub(crate) fn add_row<T: Real>(values: &mut [T], row: &[T]) {
    values.par_chunks_mut(64 * row.len().max(1)).for_each(|rows| {
        for target in rows.chunks_mut(row.len()) {
            for (value, add) in target.iter_mut().zip(row) {
                *value += *add;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_equal_those_of_the_definition_with_repeated_rows_written_out() {
        let (rows, stride, width) = (700, 5, 3);
        let values: Vec<f64> =
            (0..rows * stride).map(|i| ((i * i * 31 + i * 7) % 1009) as f64 / 100.0 + 1e4).collect();
        let extra = [1.0, 10_003.0, -5.0];
        let columns = Columns { values: &values, stride, width };
        for times in [0usize, 1, 50] {
            let (mean, variance) = column_moments(columns, Some((&extra, times as f64)));
            for column in 0..width {
                let mut all: Vec<f64> = values.iter().skip(column).step_by(stride).copied().collect();
                all.extend(std::iter::repeat_n(extra[column], times));
                let n = all.len() as f64;
                let expected = all.iter().sum::<f64>() / n;
                let spread = all.iter().map(|v| (v - expected).powi(2)).sum::<f64>() / n;
                assert!((mean[column] - expected).abs() < 1e-9 * expected.abs());
                assert!((variance[column] - spread).abs() < 1e-9 * spread);
            }
        }
        let sums = column_sums(columns);
        let first: f64 = values.iter().step_by(stride).sum();
        assert!((sums[0] - first).abs() < 1e-9 * first);
    }
}
