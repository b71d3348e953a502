//! The numbers of other systems as float32, row-major.
//!
//! Law: a value is converted exactly or to the nearest float32. What has no such float32 (an integer type, an overflow,
//! NaN) is refused.

use std::fmt;

use candle_core::{DType, Device, Tensor};

/// The type of a tensor's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementType {
    kind: Kind,
    /// The bytes of an element; 0 where they are not known.
    size: usize,
    big_endian: bool,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    /// A bfloat16: the upper half of a float32.
    Bfloat,
    /// Any other type. Weights are not made of it.
    Other,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.big_endian { f.write_str(" (big-endian)") } else { Ok(()) }
    }
}

impl ElementType {
    /// The type with numpy's code, such as `f4`. `code` has no byte order; `big_endian` says whether the order was `>`.
    pub(super) fn of_numpy(code: &str, big_endian: bool) -> Self {
        let size = code.get(1..).and_then(|digits| digits.parse::<usize>().ok()).filter(|size| *size <= 64);
        let (letter, size) = (code.get(..1).unwrap_or_default(), size.unwrap_or(0));
        let word = match letter {
            "f" => "f",
            "i" => "i",
            "u" => "u",
            "c" => "complex",
            _ => "",
        };
        let name = match (word, size) {
            _ if code == "b1" => "bool".to_owned(),
            ("", _) | (_, 0) => super::error::shown(code),
            (word, size) => format!("{word}{}", size * 8),
        };
        let float = word == "f" && matches!(size, 2 | 4 | 8);
        Self {
            kind: if float { Kind::Float } else { Kind::Other },
            size,
            big_endian: big_endian && size > 1,
            name,
        }
    }

    /// The type of a tensor in a safetensors file.
    pub(super) fn of_safetensors(dtype: safetensors::Dtype) -> Self {
        use safetensors::Dtype;
        let (kind, size) = match dtype {
            Dtype::F16 => (Kind::Float, 2),
            Dtype::F32 => (Kind::Float, 4),
            Dtype::F64 => (Kind::Float, 8),
            Dtype::BF16 => (Kind::Bfloat, 2),
            _ => (Kind::Other, 0),
        };
        Self { kind, size, big_endian: false, name: format!("{dtype:?}").to_lowercase() }
    }

    /// Whether weights can be made of elements of this type.
    pub fn is_float(&self) -> bool {
        self.kind != Kind::Other
    }

    /// The bytes of a tensor of this shape; `None` if they cannot be counted.
    pub(super) fn bytes(&self, shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(self.size, |product, dimension| product.checked_mul(*dimension))
    }

    /// Converts `bytes` to float32, in the order in which the elements lie.
    ///
    /// # Errors
    /// The reason why that is not possible, without the tensor's name.
    pub(super) fn to_f32(&self, bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
        if !self.is_float() {
            let hint = if self.name == "u16" { " (PaddlePaddle stores bfloat16 as uint16)" } else { "" };
            return Err(format!("its elements are {self}{hint}; only f16, bf16, f32 and f64 can be weights"));
        }
        if self.bytes(shape) != Some(bytes.len()) {
            return Err(format!("{} bytes do not make {self} {shape:?}", bytes.len()));
        }
        let values = match self.size {
            2 => self.halves(bytes)?,
            4 => each(bytes, self.big_endian, f32::from_le_bytes),
            _ => doubles(bytes, self.big_endian)?,
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(format!("element {index} is {}", values[index])),
            None => Ok(values),
        }
    }

    fn halves(&self, bytes: &[u8]) -> Result<Vec<f32>, String> {
        let dtype = if self.kind == Kind::Bfloat { DType::BF16 } else { DType::F16 };
        let little: Vec<u8>;
        let bytes = if self.big_endian {
            little = bytes.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
            &little
        } else {
            bytes
        };
        let tensor = Tensor::from_raw_buffer(bytes, dtype, &[bytes.len() / 2], &Device::Cpu);
        tensor.and_then(|tensor| tensor.to_dtype(DType::F32)?.to_vec1()).map_err(|error| error.to_string())
    }
}

fn each<const N: usize, T>(bytes: &[u8], big_endian: bool, value: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<N>();
    let swapped = |mut word: [u8; N]| {
        word.reverse();
        word
    };
    words.iter().map(|word| value(if big_endian { swapped(*word) } else { *word })).collect()
}

fn doubles(bytes: &[u8], big_endian: bool) -> Result<Vec<f32>, String> {
    let mut values = Vec::with_capacity(bytes.len() / 8);
    for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let wide = if big_endian { f64::from_be_bytes(*word) } else { f64::from_le_bytes(*word) };
        let value = wide as f32;
        if wide.is_finite() && !value.is_finite() {
            return Err(format!("element {index} is {wide:e}, too large for a float32"));
        }
        values.push(value);
    }
    Ok(values)
}

/// Reverses the axes: `values` are row-major in `shape`, and the result is row-major in the reversed shape. This turns
/// column-major (Fortran) order into row-major order, and it transposes a matrix.
pub(super) fn reverse_axes(values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
    // Axes of size 1 do not move any element.
    let axes: Vec<usize> = shape.iter().copied().filter(|size| *size != 1).collect();
    if axes.len() < 2 || values.is_empty() {
        return values;
    }
    let mut strides = vec![1; axes.len()];
    for axis in (1..axes.len()).rev() {
        strides[axis - 1] = strides[axis] * axes[axis];
    }
    let mut out = Vec::with_capacity(values.len());
    // The first axis of the source is the one that runs fastest in the result.
    let mut place = vec![0; axes.len()];
    let mut offset = 0;
    while out.len() < values.len() {
        out.push(values[offset]);
        for axis in 0..axes.len() {
            place[axis] += 1;
            offset += strides[axis];
            if place[axis] < axes[axis] {
                break;
            }
            offset -= strides[axis] * axes[axis];
            place[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numpy_codes() {
        let name = |code: &str, big| ElementType::of_numpy(code, big).to_string();
        assert_eq!(
            [name("f4", false), name("f8", true), name("i8", false)],
            ["f32", "f64 (big-endian)", "i64"]
        );
        assert_eq!(
            [name("b1", true), name("U7", false), name("é", false), name("", false)],
            ["bool", "U7", "é", ""]
        );
        assert!(ElementType::of_numpy("f2", false).is_float());
        assert!(
            !ElementType::of_numpy("f16", false).is_float() && !ElementType::of_numpy("c8", false).is_float()
        );
    }

    #[test]
    fn floats_of_every_width_and_byte_order() {
        let numbers = [1.5f32, -0.25, 65504.0];
        let both = |code: &str, bytes: Vec<Vec<u8>>| {
            let little: Vec<u8> = bytes.concat();
            let big: Vec<u8> = bytes.into_iter().flat_map(|mut b| (b.reverse(), b).1).collect();
            assert_eq!(ElementType::of_numpy(code, false).to_f32(&little, &[3]).unwrap(), numbers);
            assert_eq!(ElementType::of_numpy(code, true).to_f32(&big, &[3]).unwrap(), numbers);
        };
        both("f4", numbers.iter().map(|v| v.to_le_bytes().to_vec()).collect());
        both("f8", numbers.iter().map(|v| f64::from(*v).to_le_bytes().to_vec()).collect());
        // These are the IEEE 754 halves of the numbers, written by hand: sign, exponent + 15, ten bits.
        both("f2", vec![vec![0x00, 0x3e], vec![0x00, 0xb4], vec![0xff, 0x7b]]);
        let bf16 = ElementType::of_safetensors(safetensors::Dtype::BF16);
        assert_eq!(bf16.to_f32(&[0xc0, 0x3f, 0x80, 0xbe], &[2]).unwrap(), [1.5, -0.25]);
    }

    #[test]
    fn what_is_no_finite_float_is_refused() {
        let refused = |code: &str, bytes: &[u8], shape: &[usize]| {
            ElementType::of_numpy(code, false).to_f32(bytes, shape).unwrap_err()
        };
        assert_eq!(refused("f4", &f32::NAN.to_le_bytes(), &[1]), "element 0 is NaN");
        assert_eq!(refused("f2", &[0, 0, 0, 0x7c], &[2]), "element 1 is inf");
        assert_eq!(
            refused("f8", &1e300f64.to_le_bytes(), &[1]),
            "element 0 is 1e300, too large for a float32"
        );
        assert!(refused("u2", &[0, 0], &[1]).contains("bfloat16"));
        assert_eq!(refused("f4", &[0; 8], &[3]), "8 bytes do not make f32 [3]");
        assert!(refused("f4", &[], &[usize::MAX, 2]).contains("do not make"));
    }

    #[test]
    fn axes_are_reversed_in_any_number() {
        let values: Vec<f32> = (0..24).map(|v| v as f32).collect();
        for shape in [vec![24], vec![4, 6], vec![2, 3, 4], vec![1, 4, 6], vec![2, 3, 1, 4], vec![24, 1]] {
            let reversed = reverse_axes(values.clone(), &shape);
            let tensor = Tensor::from_vec(values.clone(), shape.as_slice(), &Device::Cpu).unwrap();
            let axes: Vec<usize> = (0..shape.len()).rev().collect();
            let plain = tensor.permute(axes).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(reversed, plain, "{shape:?}");
        }
        assert_eq!(reverse_axes(vec![], &[0, 3]), Vec::<f32>::new());
    }
}
