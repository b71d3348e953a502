//! The kernels against those of the CPU and plainer computations: in the emulator, and with `FRAMEWISE_CUDA=1` in a build
//! with the feature `cuda` also on the first GPU.
//!
//! Sizes are odd on purpose: one row, one column, fewer and more elements than a block has threads.

use candle_core::{DType, Device, Tensor, Var};

use super::emulated::{OWN, places, program};
use super::launch::{Argument, Grid, Kernel, fresh, launch};
use super::product::operand;
use super::{adam, batch_norm, codes, columns, normalize};
use crate::kernels::adam::{Coefficients, New, Old};
use crate::kernels::cpu;
use crate::kernels::cpu::batch_norm::Norm;
use crate::kernels::exp::quick_exp;
use crate::kernels::forms::L2Norm;
use crate::kernels::precision::Precision;

/// A number that looks like noise, from −1 to 1.
fn noise(i: usize) -> f32 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) as f32 / (1u64 << 23) as f32) - 1.0
}

fn tensor(shape: &[usize], salt: usize) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| noise(i * 7 + salt * 1001)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A copy on `place`, or the tensor itself where it lies there.
fn on(place: &Device, tensor: &Tensor) -> Tensor {
    tensor.to_device(place).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    on(&Device::Cpu, tensor).flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    on(&Device::Cpu, tensor).flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
}

#[track_caller]
fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (doubles(found), doubles(expected));
    let scale = expected.iter().fold(1e-30f64, |most, value| most.max(value.abs()));
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{index}: {a} {b}, the largest is {scale}");
    }
}

/// Launches one of the kernels of the emulator itself.
fn run(name: &'static str, x: &Tensor, grid: Grid) -> candle_core::Result<Tensor> {
    let y = fresh(x.dims(), DType::F32, &Device::Cpu)?;
    let arguments = [Argument::Read(x), Argument::Size(x.elem_count()), Argument::Write(&y)];
    launch(&Device::Cpu, Kernel { source: OWN, name }, grid, &arguments)?;
    Ok(y)
}

#[test]
fn the_emulator_finds_what_a_kernel_must_not_do() {
    let Some(_) = program() else { return };
    let x = tensor(&[7], 1);
    let one_block = Grid { blocks: (1, 1), threads: (7, 1) };
    let larger = Grid { blocks: (1, 1), threads: (8, 1) };
    let failure = |name, grid| run(name, &x, grid).unwrap_err().to_string();
    assert!(failure("reads_behind_the_end", one_block).contains("heap-buffer-overflow"));
    assert!(failure("lacks_a_barrier", one_block).contains("order of threads"));
    assert!(failure("leaves_before_a_barrier", larger).contains("waited at a barrier"));
    assert_eq!(floats(&run("leaves_before_a_barrier", &x, one_block).unwrap()), floats(&x));
    assert!(failure("no_such_kernel", one_block).contains("no kernel of this name"));
    // Types, constness and number of arguments are those of the kernel.
    let wrong = |arguments: &[Argument]| {
        let kernel = Kernel { source: OWN, name: "exponentials" };
        launch(&Device::Cpu, kernel, one_block, arguments).unwrap_err().to_string()
    };
    let y = fresh(&[7], DType::F32, &Device::Cpu).unwrap();
    let wide = x.to_dtype(DType::F64).unwrap();
    let (read, size, write) = (Argument::Read(&x), Argument::Size(7), Argument::Write(&y));
    assert!(wrong(&[read, size]).contains("2 arguments for 3"));
    assert!(wrong(&[Argument::Write(&x), size, write]).contains("argument 0"));
    assert!(wrong(&[Argument::Read(&wide), size, write]).contains("argument 0"));
    assert!(wrong(&[read, Argument::Word(7), write]).contains("argument 1"));
    assert!(wrong(&[read, size, Argument::Read(&y)]).contains("argument 2"));
}

#[test]
fn a_launch_that_a_card_refuses_is_an_error_before_it() {
    assert!(Grid::columns(1, 65_536).is_err());
    assert!(Grid::elements((1 << 31) * 256).is_err());
    assert_eq!(Grid::elements(257).unwrap(), Grid { blocks: (2, 1), threads: (256, 1) });
    assert_eq!(Grid::segments(9).unwrap(), Grid { blocks: (2, 1), threads: (32, 8) });
    assert_eq!(Grid::lanes(33, 3, 16).unwrap(), Grid { blocks: (2, 3), threads: (32, 16) });
}

#[test]
fn the_exponential_has_the_bits_of_the_one_on_the_cpu() {
    let Some(_) = program() else { return };
    let mut values: Vec<f32> = (0..u32::MAX).step_by(99_991).map(f32::from_bits).collect();
    values.extend([0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 88.722_84, -103.972_08]);
    let x = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
    let y = floats(&run("exponentials", &x, Grid::elements(values.len()).unwrap()).unwrap());
    for (x, y) in values.into_iter().zip(y) {
        let expected = quick_exp(x);
        assert!(
            y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan()),
            "{x}: {y} {expected}"
        );
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_bf16() {
    for place in places() {
        let mut values: Vec<f32> = (0..u32::MAX).step_by(99_991).map(f32::from_bits).collect();
        // Ties, the largest numbers, and numbers that are not normal.
        values.extend([0x3f80_8000, 0x3f81_8000, 0x7f7f_ffff, 0x0000_8000, 0x8001_8000].map(f32::from_bits));
        values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let x = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
        let found = floats(&operand(&on(&place, &x), Precision::Bf16).unwrap().to_dtype(DType::F32).unwrap());
        for (x, found) in values.iter().copied().zip(found) {
            if x.is_nan() {
                assert!(found.is_nan());
                continue;
            }
            // The two neighbours of a number are its upper half, and that plus one.
            let below = f32::from_bits(x.to_bits() & 0xffff_0000);
            let rest = x.to_bits() & 0xffff;
            let is_odd = x.to_bits() & 0x1_0000 != 0;
            let up = rest > 0x8000 || (rest == 0x8000 && is_odd);
            let expected = if up { f32::from_bits(below.to_bits() + 0x1_0000) } else { below };
            assert_eq!(found.to_bits(), expected.to_bits(), "{x}");
        }
    }
}

#[test]
fn column_sums_and_moments_have_the_bits_of_the_cpu() {
    for place in places() {
        for (rows, stride, width) in [(1, 1, 1), (255, 3, 3), (256, 5, 4), (257, 300, 299), (700, 9, 7)] {
            let values = tensor(&[rows, stride], rows).affine(3.0, 100.0).unwrap();
            let flat = floats(&values);
            let (sums, rounded) = columns::sums(&on(&place, &values)).unwrap();
            let expected =
                cpu::columns::column_sums(cpu::columns::Columns { values: &flat, stride, width: stride });
            assert_eq!(doubles(&sums), expected);
            assert_eq!(floats(&rounded), expected.iter().map(|sum| *sum as f32).collect::<Vec<_>>());

            let offset = on(&place, &tensor(&[width], 5));
            for (padded, folded) in [(0, false), (0, true), (33, false), (33, true)] {
                let padding = columns::Padding { offset: &offset, folded, rows: padded };
                let found = columns::moments(&on(&place, &values), width, padding).unwrap();
                let row: Vec<f64> = if folded { vec![0.0; width] } else { doubles(&offset) };
                let own = cpu::columns::Columns { values: &flat, stride, width };
                let (mean, variance) = cpu::columns::column_moments(own, Some((&row, padded as f64)));
                assert_eq!(doubles(&found.mean), mean);
                assert_eq!(doubles(&found.variance), variance);
                let constant: Vec<f64> = if folded { doubles(&offset) } else { vec![0.0; width] };
                let reported: Vec<f32> = mean.iter().zip(constant).map(|(m, c)| (m + c) as f32).collect();
                assert_eq!(floats(&found.reported_mean), reported);
            }

            let target = on(&place, &values).force_contiguous().unwrap();
            let row = tensor(&[stride], 8);
            columns::add_row(&target, &on(&place, &row)).unwrap();
            assert_eq!(floats(&target), floats(&values.broadcast_add(&row).unwrap()));
        }
    }
}

#[test]
fn features_have_the_bits_of_the_cpu() {
    for place in places() {
        for (rows, width) in [(1, 1), (16, 256), (17, 257), (40, 3)] {
            let bytes: Vec<u8> = (0..rows * width).map(|i| (i * 37 % 256) as u8).collect();
            let bytes = Tensor::from_vec(bytes, (rows, width), &Device::Cpu).unwrap();
            let scale = tensor(&[width], 3);
            for (offset, scale) in [(0.0, Some(&scale)), (0.0078, None)] {
                let quantisation =
                    codes::Quantisation::new(offset, scale.map(|scale| on(&place, scale)).as_ref()).unwrap();
                let found = codes::features(&on(&place, &bytes), &quantisation).unwrap();
                let expected = cpu::vlad::dequantize::dequantize(&bytes, offset, scale, DType::F32).unwrap();
                assert_eq!(floats(&found), floats(&expected));
            }
        }
    }
    let bytes = Tensor::zeros((2, 3), DType::U8, &Device::Cpu).unwrap();
    let other = codes::Quantisation::new(0.0, Some(&tensor(&[2], 1))).unwrap();
    assert!(codes::features(&bytes, &other).is_err());
    assert!(codes::Quantisation::new(0.0, Some(&bytes.to_dtype(DType::F64).unwrap())).is_err());
}

#[test]
fn batch_norm_and_its_gradient_have_the_bits_of_the_cpu() {
    for place in places() {
        for (rows, width) in [(1, 5), (7, 300), (300, 3)] {
            let run = |device: &Device, on_gpu: bool| {
                let var =
                    |shape: &[usize], salt| Var::from_tensor(&on(device, &tensor(shape, salt))).unwrap();
                let (x, weight, bias) = (var(&[rows, width], 1), var(&[width], 2), var(&[width], 3));
                let norm = Norm { weight: &weight, bias: &bias, epsilon: 1e-3 };
                let (y, moments) = match on_gpu {
                    true => batch_norm::train(&x, &norm).unwrap(),
                    false => cpu::batch_norm::train(&x, &norm).unwrap(),
                };
                let along = on(device, &tensor(&[rows, width], 4));
                let gradients = y.mul(&along).unwrap().sum_all().unwrap().backward().unwrap();
                let mut all = vec![floats(&y), floats(&moments.mean), floats(&moments.variance)];
                all.extend([&x, &weight, &bias].map(|var| floats(gradients.get(var).unwrap())));
                (all, moments.rows)
            };
            let results = [run(&place, true), run(&Device::Cpu, false)];
            assert_eq!(results[0], results[1], "{rows} {width}");
        }
    }
}

#[test]
fn descriptors_and_their_gradient_are_those_of_the_cpu() {
    for place in places() {
        for (videos, clusters, width) in [(1, 1, 1), (2, 3, 40), (3, 5, 7)] {
            let values = tensor(&[videos, clusters, width], 1);
            // One cluster is empty.
            let mask: Vec<f32> = (0..videos * clusters).map(|i| if i == 1 { 0.0 } else { 1.0 }).collect();
            let mask = Tensor::from_vec(mask, (videos, clusters, 1), &Device::Cpu).unwrap();
            let values = values.broadcast_mul(&mask).unwrap();
            for form in [L2Norm::SqrtSumPlusEpsilon, L2Norm::SqrtMaxEpsilon] {
                let run = |device: &Device, on_gpu: bool| {
                    let v = Var::from_tensor(&on(device, &values)).unwrap();
                    let u = match on_gpu {
                        true => normalize::normalize(&v, form).unwrap(),
                        false => cpu::vlad::normalize::normalize(&v, form).unwrap(),
                    };
                    let along = on(device, &tensor(&[videos, width * clusters], 2));
                    let gradients = u.mul(&along).unwrap().sum_all().unwrap().backward().unwrap();
                    (u.detach(), gradients.get(&v).unwrap().clone())
                };
                let results = [run(&place, true), run(&Device::Cpu, false)];
                assert_close(&results[0].0, &results[1].0, 1e-6);
                assert_close(&results[0].1, &results[1].1, 1e-6);
            }
        }
    }
}

fn coefficients(index: usize) -> Coefficients {
    Coefficients {
        beta1: 0.9,
        beta2: 0.999,
        rate: 0.01 * (index + 1) as f64,
        second_factor: 1.7,
        epsilon: 1e-8,
        gradient_factor: 0.7,
        parameter_factor: if index.is_multiple_of(2) { 0.0 } else { 0.03 },
    }
}

#[test]
fn an_update_of_many_tensors_has_the_bits_of_the_cpu() {
    for place in places() {
        // The view starts inside its memory, as the slices of a member do.
        let sizes = [1, 255, 4096, 4097, 10_000, 0, 3];
        let all: Vec<[Tensor; 4]> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| {
                let view = |salt| tensor(&[size + 5], index * 4 + salt).narrow(0, 2, *size).unwrap();
                [view(0), view(1), view(2).abs().unwrap(), view(3)]
            })
            .collect();
        let gpu: Vec<[Tensor; 4]> =
            all.iter().map(|own| own.each_ref().map(|tensor| on(&place, tensor))).collect();
        fn steps(all: &[[Tensor; 4]]) -> Vec<(Coefficients, Old<'_>)> {
            all.iter()
                .enumerate()
                .map(|(index, [parameter, first, second, gradient])| {
                    (coefficients(index), Old { parameter, first, second, gradient })
                })
                .collect()
        }
        let memory = |device: &Device| {
            let zeros = |size| Tensor::zeros(size, DType::F32, device).unwrap();
            sizes.map(|size| [0; 3].map(|_| zeros(size)))
        };
        let found = memory(&place);
        let news: Vec<New> =
            found.iter().map(|[parameter, first, second]| New { parameter, first, second }).collect();
        let verdict = adam::update(&steps(&gpu), &news, &place).unwrap();
        assert!(verdict.is_finite().unwrap());
        let expected = memory(&Device::Cpu);
        for (((coefficients, old), expected), found) in steps(&all).iter().zip(&expected).zip(&found) {
            let [parameter, first, second] = expected;
            if parameter.elem_count() > 0 {
                cpu::adam::update(coefficients, old, &New { parameter, first, second }).unwrap();
            }
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(floats(found), floats(expected));
            }
        }
        // Tensors that do not fit are refused before anything is written.
        let other = tensor(&[4], 1);
        let wrong = [(
            coefficients(0),
            Old { parameter: &other, first: &other, second: &other, gradient: &all[1][3] },
        )];
        assert!(adam::update(&wrong, &news[..1], &place).is_err());
    }
}

#[test]
fn one_number_that_is_not_finite_is_found_wherever_it_stands() {
    for place in places() {
        let good =
            [tensor(&[4097], 1), tensor(&[1], 2), tensor(&[9000], 3)].map(|tensor| on(&place, &tensor));
        let verdict = |tensors: &[&Tensor]| adam::all_finite(tensors, &place).unwrap().is_finite().unwrap();
        assert!(verdict(&good.iter().collect::<Vec<_>>()));
        assert!(verdict(&[]));
        for (index, at) in [(0, 0), (0, 4096), (1, 0), (2, 4095), (2, 4096), (2, 8999)] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = floats(&good[index]);
                values[at] = bad;
                let bad = Tensor::from_slice(&values, values.len(), &place).unwrap();
                let mut tensors: Vec<&Tensor> = good.iter().collect();
                tensors[index] = &bad;
                assert!(!verdict(&tensors), "{index} {at}");
            }
        }
    }
}

#[test]
fn sums_of_squares_come_in_the_order_of_the_pieces() {
    for place in places() {
        let piece = 1000;
        let tensors: Vec<(Tensor, Tensor, f64)> = [(1, 0.0), (999, 0.5), (1000, 0.0), (2001, 0.25)]
            .into_iter()
            .map(|(size, l2)| (tensor(&[size], size), tensor(&[size], size + 1), l2))
            .collect();
        let gpu: Vec<_> = tensors
            .iter()
            .map(|(gradient, parameter, l2)| (on(&place, gradient), on(&place, parameter), *l2))
            .collect();
        let pairs: Vec<adam::Pair> =
            gpu.iter().map(|(gradient, parameter, l2)| adam::Pair { gradient, parameter, l2: *l2 }).collect();
        let found = adam::sums_of_squares(&pairs, piece, &place).unwrap();
        let mut expected = Vec::new();
        for (gradient, parameter, l2) in &tensors {
            expected.extend(cpu::squares::sums_of_squares(gradient, parameter, *l2, piece).unwrap());
        }
        assert_eq!(found.len(), 6);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-14 * expected, "{found} {expected}");
        }
    }
}
