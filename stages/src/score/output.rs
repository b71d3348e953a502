//! Predictions as text: the challenge's CSV, and JSON lines.
//!
//! Law: the text can be read back to the same ranking, best first, in the order given.

use std::fmt::Write as _;

/// The first line of the CSV, without its line end.
pub const CSV_HEADER: &str = "VideoId,LabelConfidencePairs";

/// The reason why a prediction cannot be written as text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OutputError {
    /// A score is NaN or infinite, which neither the challenge's CSV nor JSON can express.
    #[error("video {id:?}: class {class} has score {score}, which is not finite")]
    NonFinite {
        /// The video.
        id: String,
        /// The class.
        class: u32,
        /// The score.
        score: f32,
    },
}

/// Appends one CSV row with its line end: `id,class score class score …`.
///
/// `ranked` is what [`top_k`](super::top_k) gives. Without `decimals` each score has the fewest digits that read back
/// to the same f32, so metrics computed from the file equal those of the run. With `decimals` each score has that many
/// digits behind the point, and scores that round alike keep their order by their places. An id with a comma, a quote
/// or a line break is quoted as RFC 4180 says.
///
/// # Errors
/// [`OutputError::NonFinite`] for a score that is not finite. Then nothing is appended.
pub fn csv_row(
    text: &mut String,
    id: &str,
    ranked: &[(u32, f32)],
    decimals: Option<usize>,
) -> Result<(), OutputError> {
    check(id, ranked)?;
    if id.contains(['"', ',', '\n', '\r']) {
        text.push('"');
        text.push_str(&id.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(id);
    }
    for (place, (class, score)) in ranked.iter().enumerate() {
        let separator = if place == 0 { ',' } else { ' ' };
        match decimals {
            Some(digits) => write!(text, "{separator}{class} {score:.digits$}"),
            // The shortest form that reads back as the same f32 (`1e-5`, `0.25`).
            None => write!(text, "{separator}{class} {score:?}"),
        }
        .expect("a String takes any text");
    }
    if ranked.is_empty() {
        text.push(',');
    }
    text.push('\n');
    Ok(())
}

/// Appends one JSON line: `{"id": "...", "classes": [...], "scores": [...]}`. Each score has the fewest digits that
/// read back to the same f32.
///
/// # Errors
/// [`OutputError::NonFinite`] for a score that is not finite. Then nothing is appended.
pub fn json_line(text: &mut String, id: &str, ranked: &[(u32, f32)]) -> Result<(), OutputError> {
    check(id, ranked)?;
    text.push_str("{\"id\": ");
    text.push_str(&serde_json::Value::from(id).to_string());
    text.push_str(", \"classes\": [");
    for (place, (class, _)) in ranked.iter().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        write!(text, "{separator}{class}").expect("a String takes any text");
    }
    text.push_str("], \"scores\": [");
    for (place, (_, score)) in ranked.iter().enumerate() {
        // `{:?}` is the shortest form that reads back as the same f32 (`1e-5`, `0.25`), and valid JSON.
        let separator = if place == 0 { "" } else { ", " };
        write!(text, "{separator}{score:?}").expect("a String takes any text");
    }
    text.push_str("]}\n");
    Ok(())
}

fn check(id: &str, ranked: &[(u32, f32)]) -> Result<(), OutputError> {
    match ranked.iter().find(|(_, score)| !score.is_finite()) {
        Some(&(class, score)) => Err(OutputError::NonFinite { id: id.to_owned(), class, score }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::top_k;
    use super::*;

    #[test]
    fn rows_look_as_the_challenge_wants_them() {
        let mut text = format!("{CSV_HEADER}\n");
        let ranked = [(12, 0.9876543), (7, 0.25), (3861, 0.0000004)];
        csv_row(&mut text, "abcd", &ranked, None).unwrap();
        csv_row(&mut text, "abcd", &ranked, Some(6)).unwrap();
        csv_row(&mut text, "abcd", &ranked, Some(0)).unwrap();
        csv_row(&mut text, "a,\"b\"\nc", &[(1, 1.0)], None).unwrap();
        csv_row(&mut text, "none", &[], None).unwrap();
        let lines = [
            "VideoId,LabelConfidencePairs",
            "abcd,12 0.9876543 7 0.25 3861 4e-7",
            "abcd,12 0.987654 7 0.250000 3861 0.000000",
            "abcd,12 1 7 0 3861 0",
            "\"a,\"\"b\"\"",
            "c\",1 1.0",
            "none,",
            "",
        ];
        assert_eq!(text, lines.join("\n"));
    }

    #[test]
    fn text_reads_back_to_the_same_ranking() {
        // Many scores that six decimals cannot tell apart.
        let row: Vec<f32> = (0..500u32)
            .map(|i| {
                i.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * if i % 2 == 0 { 1e-5 } else { 1.0 }
            })
            .collect();
        let ranked = top_k(&row, 300);
        let (mut csv, mut json) = (String::new(), String::new());
        csv_row(&mut csv, "v", &ranked, Some(6)).unwrap();
        let mut exact = String::new();
        csv_row(&mut exact, "v", &ranked, None).unwrap();
        json_line(&mut json, "v", &ranked).unwrap();

        let fields: Vec<&str> = csv.trim_end().strip_prefix("v,").unwrap().split(' ').collect();
        let mut read: Vec<(u32, f64)> =
            fields.chunks(2).map(|pair| (pair[0].parse().unwrap(), pair[1].parse().unwrap())).collect();
        read.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: equal texts stay in place
        assert_eq!(
            read.iter().map(|p| p.0).collect::<Vec<_>>(),
            ranked.iter().map(|p| p.0).collect::<Vec<_>>()
        );
        for (got, expected) in read.iter().zip(&ranked) {
            assert!((got.1 - f64::from(expected.1)).abs() <= 0.5e-6 + 1e-12);
        }

        let fields: Vec<&str> = exact.trim_end().strip_prefix("v,").unwrap().split(' ').collect();
        let read: Vec<(u32, f32)> =
            fields.chunks(2).map(|pair| (pair[0].parse().unwrap(), pair[1].parse().unwrap())).collect();
        assert_eq!(read, ranked);

        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["id"], "v");
        let classes: Vec<u32> = serde_json::from_value(value["classes"].clone()).unwrap();
        let scores: Vec<f32> = serde_json::from_value(value["scores"].clone()).unwrap();
        assert_eq!(classes.into_iter().zip(scores).collect::<Vec<_>>(), ranked);
    }

    #[test]
    fn json_escapes_ids_and_keeps_extreme_scores() {
        let mut json = String::new();
        let ranked = [(0, 1.0f32), (1, f32::MIN_POSITIVE), (2, 1e-45), (3, 0.0), (4, -1.5e30)];
        json_line(&mut json, "q\"\\\n\u{1F600}", &ranked).unwrap();
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["id"], "q\"\\\n\u{1F600}");
        let scores: Vec<f32> = serde_json::from_value(value["scores"].clone()).unwrap();
        assert_eq!(scores, ranked.map(|pair| pair.1));
        assert!(
            json.starts_with("{\"id\": \"")
                && json.contains(", \"classes\": [0, 1, 2, 3, 4], \"scores\": [1.0, ")
        );
    }

    #[test]
    fn a_score_without_text_is_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut text = String::new();
            let error = csv_row(&mut text, "v1", &[(0, 0.5), (9, bad)], None).unwrap_err();
            assert!(error.to_string().contains("v1") && error.to_string().contains("class 9"), "{error}");
            assert!(json_line(&mut text, "v1", &[(9, bad)]).is_err());
            assert!(text.is_empty());
        }
    }
}
