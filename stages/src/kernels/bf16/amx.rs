//! The products of tiles by AMX_BF16.
//!
//! Rust has no stable intrinsics for AMX, so the instructions stand here as assembly. Linux gives a process the tile
//! registers on request only.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::results::Results;
use crate::kernels::tiles::tile::{SIDE, Tile, WORDS};

/// Whether the processor has AMX with bf16 and the operating system lets this process use it. The first call asks for
/// the permission, which holds for all threads of the process until it ends.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        // Leaf 7 exists on every processor with AVX-512.
        if !is_x86_feature_detected!("avx512bf16") {
            return false;
        }
        // Leaf 7 has the bits of AMX_BF16 and AMX_TILE.
        let features = __cpuid_count(7, 0).edx;
        features & (1 << 22) != 0 && features & (1 << 24) != 0 && permitted()
    })
}

/// Asks Linux for the tile registers.
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let answer: i64;
    // SAFETY: this is the call arch_prctl(ARCH_REQ_XCOMP_PERM, 18). It reads and writes no memory of the process. A
    // system call changes rax, rcx and r11 alone. An older Linux answers with an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// The shape of the eight tile registers: 16 rows of 64 bytes each.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_rows: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let mut shapes =
        Shapes { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_rows: [0; 16], rows: [0; 16] };
    let mut register = 0;
    while register < 8 {
        shapes.bytes_of_rows[register] = (4 * WORDS) as u16;
        shapes.rows[register] = SIDE as u8;
        register += 1;
    }
    shapes
};

/// A block of results, as [`super::plain::block`] but in the tile order.
///
/// # Safety
/// [`available`] said yes.
pub(super) unsafe fn block(left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
    let tiles = left[0].len();
    assert!([left[1].len(), right[0].len(), right[1].len()] == [tiles; 3], "panels of one length");
    let (stride, fresh) = (results.stride(), results.is_fresh());
    let upper = results.values().as_mut_ptr().cast::<f32>();
    // SAFETY: `Results` has at least 31 · stride + 32 values, so row 16 lies within.
    let lower = unsafe { upper.add(SIDE * stride) };
    // SAFETY: the processor has the instructions by this function's condition. The configuration is 64 bytes that are
    // valid: palette 1, eight registers of 16 rows of 64 bytes. Every read of an operand is of one `Tile`, 1024 bytes:
    // each pointer starts at the first of `tiles` tiles and goes on by one tile a turn, for `tiles` turns. The results
    // are read and written in rows of 64 bytes at columns 0 and 16 of rows 0..32, which all lie within the
    // 31 · stride + 32 values, and `results` is borrowed exclusively. They are read only if they are numbers. No other code uses tile registers, which is why
    // they need not be saved, and they are released at the end. The flags are clobbered, the stack is not used.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "test {fresh:e}, {fresh:e}",
            "jnz 2f",
            "tileloadd tmm0, [{upper} + {stride}]",
            "tileloadd tmm1, [{upper} + {stride} + 64]",
            "tileloadd tmm2, [{lower} + {stride}]",
            "tileloadd tmm3, [{lower} + {stride} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "test {tiles}, {tiles}",
            "jz 5f",
            "4:",
            "tileloadd tmm4, [{left0} + {row}]",
            "tileloadd tmm6, [{right0} + {row}]",
            "tileloadd tmm7, [{right1} + {row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{left1} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left0}, 1024",
            "add {left1}, 1024",
            "add {right0}, 1024",
            "add {right1}, 1024",
            "dec {tiles}",
            "jnz 4b",
            "5:",
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            "tilerelease",
            shapes = in(reg) &SHAPES,
            fresh = in(reg) u32::from(fresh),
            upper = in(reg) upper,
            lower = in(reg) lower,
            stride = in(reg) 4 * stride,
            row = in(reg) 4 * WORDS,
            left0 = inout(reg) left[0].as_ptr() => _,
            left1 = inout(reg) left[1].as_ptr() => _,
            right0 = inout(reg) right[0].as_ptr() => _,
            right1 = inout(reg) right[1].as_ptr() => _,
            tiles = inout(reg) tiles => _,
            options(nostack),
        );
    }
}
