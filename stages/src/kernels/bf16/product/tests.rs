use super::*;
use crate::kernels::bf16::plain;

/// Numbers of many sizes and both signs, the same ones for the same `seed`.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    (0..count)
        .map(|_| {
            let size = 2f32.powi((next() % 13) as i32 - 6);
            (next() as f32 / (1 << 23) as f32 - 1.0) * size
        })
        .collect()
}

/// Numbers whose products and sums under- and overflow, NaN and infinities.
fn extreme_numbers(count: usize, seed: u32) -> Vec<f32> {
    let extremes = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        1e-20,
        -1e-20,
        3e-19,
        1e-38,
        -1e-38,
        1e-39,
        -1e-40,
        f32::from_bits(1),
        f32::MIN_POSITIVE,
        f32::from_bits(0x7f_8000),
        1e19,
        -1e19,
        3e38,
        2.0,
        -3.0,
        65536.0,
    ];
    numbers(count, seed).iter().map(|n| extremes[(n.abs() * 1e6) as usize % extremes.len()]).collect()
}

/// The bf16 nearest to `value`, as an f32, by comparing its two neighbours in f64.
fn nearest(value: f32) -> f32 {
    let below = f32::from_bits(value.to_bits() & 0xffff_0000);
    let above = f32::from_bits((value.to_bits() & 0xffff_0000) + 0x1_0000);
    let distance = |other: f32| (f64::from(value) - f64::from(other)).abs();
    match distance(below).total_cmp(&distance(above)) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Greater => above,
        std::cmp::Ordering::Equal => {
            if below.to_bits() >> 16 & 1 == 0 {
                below
            } else {
                above
            }
        }
    }
}

fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// One sum in the pair order, number by number as the documentation of the instruction has it.
fn sum_in_pair_order(left: &[f32], right: &[f32]) -> f32 {
    let add = |sum: f32, place: usize| match (left.get(place), right.get(place)) {
        (Some(a), Some(b)) => flush(flush(*a).mul_add(flush(*b), sum)),
        // What pads a tile is zero.
        _ => flush(0f32.mul_add(0.0, sum)),
    };
    (0..left.len().next_multiple_of(Bf16::DEPTH) / 2)
        .fold(0.0, |sum, pair| add(add(sum, 2 * pair + 1), 2 * pair))
}

/// One sum in the tile order.
fn sum_in_tile_order(left: &[f32], right: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (left, right) in left.chunks(Bf16::DEPTH).zip(right.chunks(Bf16::DEPTH)) {
        let mut halves = [0.0f32; 2];
        for place in 0..Bf16::DEPTH {
            let (a, b) =
                (left.get(place).map_or(0.0, |a| flush(*a)), right.get(place).map_or(0.0, |b| flush(*b)));
            halves[place % 2] = flush(a.mul_add(b, halves[place % 2]));
        }
        sum = flush(sum + flush(halves[0] + halves[1]));
    }
    sum
}

fn is_amx(unit: Unit) -> bool {
    format!("{unit:?}") == "Amx"
}

/// The bits, with one pattern for every NaN: which NaN comes of several is not said.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// Compares every unit and every way through memory with plain loops.
fn check(sizes: &[(usize, usize, usize)], make: fn(usize, u32) -> Vec<f32>) {
    for &(rows, depth, columns) in sizes {
        let (left, right) = (make(rows * depth, 1), make(depth * columns, 2));
        let round = |values: &[f32]| values.iter().map(|v| nearest(*v)).collect::<Vec<_>>();
        let (rounded_left, rounded_right) = (round(&left), round(&right));
        let columns_of_right: Vec<Vec<f32>> =
            (0..columns).map(|c| (0..depth).map(|k| rounded_right[k * columns + c]).collect()).collect();
        let expected = |sum: fn(&[f32], &[f32]) -> f32| -> Vec<u32> {
            let rows = rounded_left.chunks_exact(depth);
            let values = rows.flat_map(|row| columns_of_right.iter().map(move |column| sum(row, column)));
            bits(&values.collect::<Vec<_>>())
        };
        let (by_pairs, by_tiles) = (expected(sum_in_pair_order), expected(sum_in_tile_order));
        let transposed = |values: &[f32], rows: usize, columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
        };
        let (left_t, right_t) = (transposed(&left, rows, depth), transposed(&right, depth, columns));
        for unit in Unit::all() {
            let expected = if is_amx(unit) { &by_tiles } else { &by_pairs };
            for way in 0..4 {
                let left = match way % 2 {
                    0 => Matrix::of_rows(&left, rows, depth),
                    _ => Matrix::of_rows(&left_t, depth, rows).transposed(),
                };
                let right = match way / 2 {
                    0 => Matrix::of_rows(&right, depth, columns),
                    _ => Matrix::of_rows(&right_t, columns, depth).transposed(),
                };
                let found = product_once_by(unit, left, right);
                let packed = Right::pack(right);
                assert!(bits(&found) == *expected, "{unit:?} {rows}×{depth}×{columns}, way {way}");
                assert!(bits(&product_by(unit, left, &packed)) == *expected, "{unit:?} packed, way {way}");
                assert!(bits(&by_rows(unit, left, &packed)) == *expected, "{unit:?} in rows, way {way}");
                let found = by_columns(unit, left, columns, &PackedSource(&packed));
                assert!(bits(&found) == *expected, "{unit:?} in columns, way {way}");
            }
        }
    }
}

#[test]
fn every_unit_equals_a_plain_loop_bit_by_bit() {
    let small = [(1, 1, 1), (3, 2, 5), (16, 32, 16), (17, 33, 31), (40, 65, 33)];
    check(&small, numbers);
    if !cfg!(miri) {
        check(&[(33, 1100, 70), (64, 512, 64), (300, 37, 320), (5, 600, 300)], numbers);
    }
}

#[test]
fn every_unit_takes_what_overflows_and_underflows_as_the_loop_does() {
    check(&[(7, 5, 9), (18, 40, 20)], extreme_numbers);
    if !cfg!(miri) {
        check(&[(64, 200, 96)], extreme_numbers);
    }
}

/// The ordinary arithmetic in the tile order, which no processor needs, is held to the same sums.
#[test]
fn the_tile_order_in_ordinary_arithmetic_equals_the_loop() {
    let (left, right) = (numbers(BLOCK * 64, 3), numbers(64 * BLOCK, 4));
    let (left_matrix, right_matrix) =
        (Matrix::of_rows(&left, BLOCK, 64), Matrix::of_rows(&right, BLOCK, 64).transposed());
    let mut tiles = vec![Tile::ZERO; 4];
    for (panel, tiles) in tiles.chunks_exact_mut(2).enumerate() {
        left_matrix.left_tiles(panel * SIDE, 0, tiles);
    }
    let packed = Right::pack(right_matrix);
    let mut found = vec![0.0; BLOCK * BLOCK];
    let mut results = Results::begun(&mut found, BLOCK);
    let panels = [packed.panel(0, 0, 2), packed.panel(1, 0, 2)];
    plain::block_in_tile_order([&tiles[..2], &tiles[2..]], panels, &mut results);
    let round = |values: &[f32]| values.iter().map(|v| nearest(*v)).collect::<Vec<_>>();
    let (left, right) = (round(&left), round(&right));
    for (index, found) in found.iter().enumerate() {
        let (row, column) = (index / BLOCK * 64, index % BLOCK * 64);
        assert_eq!(*found, sum_in_tile_order(&left[row..row + 64], &right[column..column + 64]), "{index}");
    }
}

#[test]
fn bytes_are_exact() {
    let bytes: Vec<u8> = (0..=255).collect();
    let ones: Vec<f32> = vec![1.0; 8];
    let left = Matrix::of_rows(&bytes, 256, 1);
    for unit in Unit::all() {
        let found = product_once_by(unit, left, Matrix::of_rows(&ones, 1, 8));
        for (row, values) in found.chunks_exact(8).enumerate() {
            assert_eq!(values, [row as f32 - 128.0; 8], "{unit:?}");
        }
    }
}

#[test]
fn a_product_does_not_depend_on_the_number_of_threads() {
    let (rows, depth, columns) = if cfg!(miri) { (33, 40, 35) } else { (150, 700, 130) };
    let (left, right) = (numbers(rows * depth, 5), numbers(depth * columns, 6));
    let compute = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (left, right) = (Matrix::of_rows(&left, rows, depth), Matrix::of_rows(&right, depth, columns));
        pool.install(|| (product_once(left, right), product(left, &Right::pack(right))))
    };
    let one = compute(1);
    assert_eq!(one.0, one.1);
    assert!(one == compute(2) && one == compute(7));
}

/// The number as the upper half of a word.
fn bits_of(value: f32) -> u32 {
    Number::<Bf16>::bits::<1>(value)
}

#[test]
fn rounding_goes_to_the_nearest_and_to_the_even_one_of_two() {
    for (value, rounded) in [
        (1.0, 1.0),
        (f32::from_bits(0x3f80_8000), 1.0),
        (f32::from_bits(0x3f81_8000), f32::from_bits(0x3f82_0000)),
        (f32::from_bits(0x3f80_8001), f32::from_bits(0x3f81_0000)),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (-0.0, -0.0),
    ] {
        assert_eq!(f32::from_bits(bits_of(value) & 0xffff_0000), rounded, "{value}");
    }
    for nan in [f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
        assert!(f32::from_bits(bits_of(nan) & 0xffff_0000).is_nan());
    }
    for value in numbers(2000, 9) {
        assert_eq!(f32::from_bits(bits_of(value) & 0xffff_0000), nearest(value), "{value}");
    }
}

/// Prints how fast the blocks alone are, from tiles in the cache, and the products of a full-size training step. The first is
/// the limit of the others.
#[test]
#[ignore = "a measurement"]
fn products_of_a_full_size_step() {
    use std::time::Instant;

    let (frames, threads) = (8400, rayon::current_num_threads());
    let rate = |operations: usize, body: &mut dyn FnMut()| {
        body();
        let start = Instant::now();
        (0..3).for_each(|_| body());
        6.0 * operations as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    let tiles = vec![Tile([0x3f80_3f80; 256]); 4 * CHUNK];
    let blocks = 4000;
    let mut alone = || {
        rayon::broadcast(|_| {
            let mut results = vec![0.0; BLOCK * 2048];
            for _ in 0..blocks {
                let panels = |panel: usize| &tiles[panel * CHUNK..][..CHUNK];
                let (left, right) = ([panels(0), panels(1)], [panels(2), panels(3)]);
                Unit::best().block(left, right, &mut Results::begun(&mut results, 2048));
            }
        });
    };
    let limit = rate(threads * blocks * BLOCK * BLOCK * CHUNK * 32, &mut alone);
    println!("{:?} on {threads} threads: blocks {limit:.0} GFLOP/s", Unit::best());
    let bytes: Vec<u8> = (0..frames * 1024).map(|i| (i * 73 % 251) as u8).collect();
    let codes = Matrix::of_rows(&bytes, frames, 1024);
    let of = |rows: usize, columns: usize| numbers(rows * columns, 5);
    let (expand, folded, gradient) = (of(2048, 1024), of(1032, 1024), of(frames, 2048));
    let (fold, z, hidden, dhidden) = (of(1032, 2048), of(40, 36864), of(2048, 36864), of(40, 2048));
    let show = |name: &str, operations: usize, body: &mut dyn FnMut()| {
        let rate = rate(operations, body);
        println!("{name}: {rate:.0} GFLOP/s, {:.0} % of the limit", 100.0 * rate / limit);
    };
    let rows = |values, rows, columns| Matrix::of_rows(values, rows, columns);
    show("x W_expand", frames * 1024 * 2048, &mut || {
        product_once(codes, rows(&expand[..], 2048, 1024).transposed());
    });
    show("x folded", frames * 1024 * 1032, &mut || {
        product_once(codes, rows(&folded[..], 1032, 1024).transposed());
    });
    show("gradient of W_expand", frames * 1024 * 2048, &mut || {
        product_once(rows(&gradient[..], frames, 2048).transposed(), codes);
    });
    show("the fold", 1032 * 2048 * 1024, &mut || {
        product_once(rows(&fold[..], 1032, 2048), rows(&expand[..], 2048, 1024));
    });
    show("hidden layer", 40 * 36864 * 2048, &mut || {
        product_once(rows(&z[..], 40, 36864), rows(&hidden[..], 2048, 36864).transposed());
    });
    show("gradient of the hidden layer's input", 40 * 36864 * 2048, &mut || {
        product_once(rows(&dhidden[..], 40, 2048), rows(&hidden[..], 2048, 36864));
    });
    show("gradient of the hidden layer's weight", 40 * 36864 * 2048, &mut || {
        product_once(rows(&dhidden[..], 40, 2048).transposed(), rows(&z[..], 40, 36864));
    });
}
