//! Tiles: the blocks in which packed operands lie in memory.

/// Rows of a left tile, columns of a right tile: the numbers that a tile has besides those along which sums are taken.
pub(crate) const SIDE: usize = 16;

/// Words along the direction in which sums are taken, in one tile.
pub(crate) const WORDS: usize = 16;

/// The side of the block of results that is computed at a time: two left tiles times two right tiles.
pub(crate) const BLOCK: usize = 2 * SIDE;

/// 16 × 16 words of one operand. A word is a group of neighbours along the direction in which sums are taken, and the
/// first number of a group is the lowest part of its word.
///
/// A left tile holds word `w` of row `r` at `r · 16 + w`, a right tile holds word `w` of column `c` at `w · 16 + c`. Each
/// is thus the transposed form of the other.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(in crate::kernels) [u32; SIDE * WORDS]);

impl Tile {
    pub(crate) const ZERO: Self = Self([0; SIDE * WORDS]);

    /// Makes a right tile of a left one, or the other way round.
    #[inline(always)]
    pub(super) fn transpose(&self, target: &mut Self) {
        const { assert!(SIDE == 16 && WORDS == 16) };
        let mut rows = [[0; SIDE]; SIDE];
        for (row, words) in rows.iter_mut().zip(self.0.chunks_exact(WORDS)) {
            row.copy_from_slice(words);
        }
        exchange::<8>(&mut rows);
        exchange::<4>(&mut rows);
        exchange::<2>(&mut rows);
        exchange::<1>(&mut rows);
        for (words, row) in target.0.chunks_exact_mut(WORDS).zip(&rows) {
            words.copy_from_slice(row);
        }
    }
}

/// One of four steps of a transposition: between each row whose number lacks the bit `STEP` and the one that has it, the words
/// change places whose numbers have the bit in the first row and lack it in the second. The compiler makes two instructions
/// of each pair of rows, where a loop over all words would store one word at a time.
#[inline(always)]
fn exchange<const STEP: usize>(rows: &mut [[u32; SIDE]; SIDE]) {
    for row in (0..SIDE).filter(|row| row & STEP == 0) {
        let (upper, lower) = (rows[row], rows[row + STEP]);
        for word in 0..SIDE {
            if word & STEP == 0 {
                rows[row + STEP][word] = upper[word + STEP];
            } else {
                rows[row][word] = lower[word - STEP];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposition_changes_rows_and_words() {
        let tile = Tile(std::array::from_fn(|place| place as u32 * 7919));
        let mut found = Tile::ZERO;
        tile.transpose(&mut found);
        for row in 0..SIDE {
            for word in 0..WORDS {
                assert_eq!(found.0[word * SIDE + row], tile.0[row * WORDS + word], "{row} {word}");
            }
        }
    }
}
