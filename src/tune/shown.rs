//! What a search found, as text: the edits in TOML with their effect.

use super::search::{MARGIN, Tuned, mean, shown};
use crate::text::wrap;

/// The text, in lines of at most `width` characters where the words allow that.
pub(super) fn text(tuned: &Tuned, width: usize) -> String {
    let mut out = format!("before: {} items/s at `{}`\n", shown(&tuned.before), tuned.at);
    let mut stages: Vec<&str> = Vec::new();
    for tried in tuned.kept() {
        if !stages.contains(&tried.edit.stage.as_str()) {
            stages.push(&tried.edit.stage);
        }
    }
    for stage in &stages {
        out += &format!("\n[stages.{stage}]\n");
        for tried in tuned.kept().filter(|tried| tried.edit.stage == **stage) {
            let was = tried.was.map_or(String::new(), |was| format!("was {was}; "));
            out += &format!("{} = {}   # {was}{:.2}×\n", tried.edit.key, tried.edit.value, tried.times);
        }
    }
    for tried in tuned.tried.iter().filter(|tried| !tried.kept) {
        let margin = MARGIN * 100.0;
        out += "\n";
        out += &wrap(
            &format!(
                "not kept: {} ({:.2}×; all measurements with it must be at least {margin:.0}% faster than all without it)",
                tried.edit, tried.times
            ),
            width,
            0,
        );
    }
    if !stages.is_empty() {
        let times = mean(&tuned.after) / mean(&tuned.before);
        out += &format!("\nafter: {} items/s, {times:.2}×\n", shown(&tuned.after));
        out += if tuned.written {
            "The file of the graph was changed.\n"
        } else {
            "--write makes these edits in the file of the graph.\n"
        };
    }
    out += "\n";
    out + &wrap(&format!("ended because {}", tuned.end), width, 0)
}
