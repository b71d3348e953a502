use super::*;
use crate::kernels::int8::weights::{MAX_INPUTS, Planes, WholeWeights};
use crate::kernels::tiles::Matrix;

/// Whole numbers from 0 to `below`, the same ones for the same `seed`.
fn numbers(count: usize, seed: u32, below: u32) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    (0..count).map(|_| next() % below).collect()
}

fn codes(count: usize, seed: u32) -> Vec<u8> {
    numbers(count, seed, 256).into_iter().map(|number| number as u8).collect()
}

fn weights(outputs: usize, inputs: usize, planes: Planes, seed: u32) -> WholeWeights {
    let largest = if planes == Planes::One { 127 } else { 32_639 };
    let all = numbers(outputs * inputs, seed, 2 * largest + 1).into_iter();
    WholeWeights {
        planes,
        numbers: all.map(|number| (number as i32 - largest as i32) as i16).collect(),
        scales: (0..outputs).map(|output| 0.001 + output as f32 / 1000.0).collect(),
    }
}

fn constants(outputs: usize) -> Vec<f32> {
    (0..outputs).map(|output| output as f32 / 3.0 - 7.0).collect()
}

/// The results from the whole numbers of the left operand, less their zero, by plain loops over 64-bit numbers.
fn expected(left: &[i64], scales: &[f32], weights: &WholeWeights, constants: &[f32]) -> Vec<u32> {
    let inputs = weights.inputs();
    let mut results = Vec::new();
    for (row, scale) in left.chunks_exact(inputs).zip(scales) {
        for (output, constant) in constants.iter().enumerate() {
            let column = &weights.numbers[output * inputs..(output + 1) * inputs];
            let sum: i64 = row.iter().zip(column).map(|(a, b)| a * i64::from(*b)).sum();
            let scale = f64::from(*scale) * f64::from(weights.scales[output]);
            results.push((sum as f64 * scale + f64::from(*constant)) as f32);
        }
    }
    results.into_iter().map(f32::to_bits).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Compares every unit and both ways to divide the work with plain loops.
fn check(rows: usize, inputs: usize, outputs: usize) {
    let bytes = codes(rows * inputs, 3);
    let of_codes = Left::of_codes(Matrix::of_rows(&bytes, rows, inputs));
    let whole_codes: Vec<i64> = bytes.iter().map(|byte| i64::from(*byte) - 128).collect();
    // The largest number of each row is 32,767, so the scale is 1/64 exactly.
    let mut whole: Vec<i64> =
        numbers(rows * inputs, 4, 65_535).into_iter().map(|number| i64::from(number) - 32_767).collect();
    whole.iter_mut().step_by(inputs).for_each(|first| *first = -32_767);
    let floats: Vec<f32> = whole.iter().map(|number| *number as f32 / 64.0).collect();
    let of_numbers = Left::of_numbers(&floats, rows, inputs);
    assert!(of_numbers.scales.iter().all(|scale| *scale == 1.0 / 64.0));
    let constants = constants(outputs);
    for planes in [Planes::One, Planes::Two] {
        let weights = weights(outputs, inputs, planes, 5);
        let packed = PackedWeights::pack(&weights);
        for (left, whole) in [(&of_codes, &whole_codes), (&of_numbers, &whole)] {
            let expected = expected(whole, &left.scales, &weights, &constants);
            for unit in Unit::all() {
                let found = product_by(unit, left, &packed, &constants);
                assert!(bits(&found) == expected, "{unit:?} {planes:?} {rows}×{inputs}×{outputs}");
                let operands = Operands { unit, left, weights: &packed, constants: &constants };
                assert!(bits(&operands.by_rows()) == expected, "{unit:?} by rows, {planes:?}");
                assert!(bits(&operands.by_columns()) == expected, "{unit:?} by columns, {planes:?}");
            }
        }
    }
}

#[test]
fn every_unit_equals_a_plain_loop_bit_by_bit() {
    for (rows, inputs, outputs) in [(1, 1, 1), (3, 2, 5), (16, 64, 16), (17, 65, 31), (40, 131, 33)] {
        check(rows, inputs, outputs);
    }
    if !cfg!(miri) {
        for (rows, inputs, outputs) in [(33, 2100, 70), (64, 1024, 64), (300, 37, 320), (5, 1200, 300)] {
            check(rows, inputs, outputs);
        }
    }
}

/// The longest sums of the largest products, which must not leave 32 bits.
#[test]
fn the_longest_sums_are_exact() {
    let inputs = if cfg!(miri) { 300 } else { MAX_INPUTS };
    let bytes = vec![255; inputs];
    let left = Left::of_codes(Matrix::of_rows(&bytes, 1, inputs));
    for (number, planes) in
        [(127, Planes::One), (-127, Planes::One), (32_639, Planes::Two), (-32_640, Planes::Two)]
    {
        // The lowest number of two planes is not made by rounding, but its low byte is the lowest of all, −128.
        let weights = WholeWeights { planes, numbers: vec![number; inputs], scales: vec![1.0] };
        let expected = (inputs as i64 * 127 * i64::from(number)) as f32;
        for unit in Unit::all() {
            assert_eq!(
                product_by(unit, &left, &PackedWeights::pack(&weights), &[0.0]),
                [expected],
                "{unit:?}"
            );
        }
    }
}

#[test]
fn a_product_does_not_depend_on_the_number_of_threads() {
    let (rows, inputs, outputs) = if cfg!(miri) { (33, 40, 35) } else { (150, 700, 330) };
    let bytes = codes(rows * inputs, 5);
    let packed = PackedWeights::pack(&weights(outputs, inputs, Planes::Two, 6));
    let compute = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let left = Left::of_codes(Matrix::of_rows(&bytes, rows, inputs));
            bits(&product(&left, &packed, &constants(outputs)))
        })
    };
    let one = compute(1);
    assert!(one == compute(2) && one == compute(7));
}

#[test]
fn numbers_that_are_not_finite_are_seen_in_the_results() {
    let packed = PackedWeights::pack(&weights(3, 2, Planes::One, 7));
    let left = Left::of_numbers(&[1.0, f32::NAN, 1.0, 2.0], 2, 2);
    let found = product(&left, &packed, &[0.0; 3]);
    assert!(
        found[..3].iter().all(|value| value.is_nan()) && found[3..].iter().all(|value| value.is_finite())
    );
    let broken = WholeWeights::round((2, 2), Planes::Two, |output, row| row.fill([1.0, f64::NAN][output]));
    let found = product(&left, &PackedWeights::pack(&broken), &[0.0; 2]);
    assert!(found[2].is_finite() && found[3].is_nan());
}

#[test]
fn products_without_rows_or_outputs_are_empty() {
    let packed = PackedWeights::pack(&weights(3, 2, Planes::One, 7));
    assert!(product(&Left::of_numbers(&[], 0, 2), &packed, &[0.0; 3]).is_empty());
}
