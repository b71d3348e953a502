//! Tables that fit the width of a terminal.
//!
//! Law: no line of a table is wider than the terminal. For this, whole columns are left out. Only where the columns that
//! always stay are still too wide, the longest names are cut.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

use crate::text::Align;

/// The spaces between two columns.
const GAP: usize = 2;
/// The fewest characters to which a name is cut.
const SHORTEST: usize = 6;

/// A column of a table.
pub(crate) struct Column {
    /// The first line of the column.
    pub(crate) head: &'static str,
    pub(crate) align: Align,
    /// How soon the column is left out where there is too little room: the highest number goes first. A column with 0
    /// stays always.
    pub(crate) leaves: u8,
}

impl Column {
    /// A column of names, aligned to the left.
    pub(crate) const fn names(head: &'static str, leaves: u8) -> Self {
        Self { head, align: Align::Left, leaves }
    }

    /// A column of numbers, aligned to the right.
    pub(crate) const fn numbers(head: &'static str, leaves: u8) -> Self {
        Self { head, align: Align::Right, leaves }
    }
}

/// The heads and the rows as lines of aligned columns, which have at most `width` characters. A row has a cell for each
/// column. Lines have no trailing spaces.
pub(crate) fn fitted(columns: &[Column], rows: &[Vec<String>], width: usize) -> String {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let wanted = |column: usize| {
        let widest = cells(column).map(|cell| measure_text_width(cell)).max().unwrap_or(0);
        widest.max(measure_text_width(columns[column].head))
    };
    let mut kept: Vec<(usize, usize)> = (0..columns.len()).map(|column| (column, wanted(column))).collect();
    let line = |kept: &[(usize, usize)]| {
        kept.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while line(&kept) > width {
        // Among equal columns, the last one goes first.
        let next = (0..kept.len()).max_by_key(|place| columns[kept[*place].0].leaves);
        match next.filter(|place| columns[kept[*place].0].leaves > 0) {
            Some(place) => drop(kept.remove(place)),
            None => break,
        }
    }
    while line(&kept) > width {
        // One character at a time is taken from the widest column of names.
        let names = kept.iter_mut().filter(|(column, _)| columns[*column].align == Align::Left);
        match names.max_by_key(|(_, width)| *width).filter(|(_, width)| *width > SHORTEST) {
            Some((_, width)) => *width -= 1,
            None => break,
        }
    }
    let heads: Vec<String> = columns.iter().map(|column| column.head.to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&heads).filter(|heads| heads.iter().any(|head| !head.is_empty())).chain(rows) {
        let mut text = String::new();
        for (column, width) in &kept {
            let cell = row.get(*column).map(String::as_str).unwrap_or_default();
            let side = match columns[*column].align {
                Align::Left => Alignment::Left,
                Align::Right => Alignment::Right,
            };
            text += &pad_str(&truncate_str(cell, *width, "…"), *width, side, None);
            text += &" ".repeat(GAP);
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::names("stage", 0),
        Column::names("type", 2),
        Column::numbers("in", 1),
        Column::numbers("busy", 0),
    ];

    fn rows() -> Vec<Vec<String>> {
        let rows = [["videos", "tfrecord_reader", "0", "1%"], ["forward_pass", "forward", "1,234", "100%"]];
        rows.map(|row| row.map(str::to_owned).to_vec()).to_vec()
    }

    #[test]
    fn columns_are_left_out_in_their_order_until_lines_fit() {
        let wide = "stage         type                in  busy\nvideos        tfrecord_reader      0    1%\n\
                    forward_pass  forward          1,234  100%\n";
        assert_eq!(fitted(&COLUMNS, &rows(), 42), wide);
        let without_type =
            "stage            in  busy\nvideos            0    1%\nforward_pass  1,234  100%\n";
        assert_eq!(fitted(&COLUMNS, &rows(), 41), without_type);
        assert_eq!(fitted(&COLUMNS, &rows(), 25), without_type);
        assert_eq!(
            fitted(&COLUMNS, &rows(), 24),
            "stage         busy\nvideos          1%\nforward_pass  100%\n"
        );
    }

    #[test]
    fn names_are_cut_where_no_column_can_go_any_more() {
        assert_eq!(fitted(&COLUMNS, &rows(), 15), "stage      busy\nvideos       1%\nforward_…  100%\n");
        // Something stays readable however narrow the terminal is.
        assert_eq!(fitted(&COLUMNS, &rows(), 1), "stage   busy\nvideos    1%\nforwa…  100%\n");
    }

    #[test]
    fn wide_characters_count_as_two() {
        let columns = [Column::names("", 0), Column::numbers("", 0)];
        let rows = [vec!["動画".to_owned(), "1".to_owned()], vec!["video".to_owned(), "2".to_owned()]];
        assert_eq!(fitted(&columns, &rows, 80), "動画   1\nvideo  2\n");
    }
}
