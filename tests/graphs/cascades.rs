//! Laws: a mistake is told once, and not again where its effects show. It hides no other mistake. An edge whose tensors
//! do not fit names what chooses them, and what would make it right.

use crate::support::cli::{Desk, graph_text};

/// The lines of `error:` that `check` prints for a graph, and the whole text.
fn errors(text: &str) -> (Vec<String>, String) {
    let desk = Desk::new();
    desk.write("g.toml", text);
    let err = desk.framewise(&["check", "g.toml"]).expect(78).err;
    let lines = err.lines().filter_map(|line| line.strip_prefix("error: ").map(str::to_owned));
    (lines.collect(), err)
}

/// Replaces a text that stands exactly once.
#[track_caller]
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

/// The line `NAME = …` of `[use]` with the path of a file that does not exist.
fn without_config(text: &str, name: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix(&format!("{name} = ")) {
        Some(_) => format!("{name} = \"nowhere/{name}.toml\"\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn a_config_that_does_not_exist_is_the_only_error() {
    let text = graph_text("quickstart.toml");
    for name in ["data", "model", "optim"] {
        let (errors, shown) = errors(&without_config(&text, name));
        // The evaluated graph, which has its configs, measures another model as long as `model` is not known.
        assert_eq!(errors.len(), 1, "{name}: {shown}");
        assert!(
            errors[0].starts_with(&format!("the config `nowhere/{name}.toml` cannot be read")),
            "{shown}"
        );
    }
}

#[test]
fn shapes_that_do_not_depend_on_the_missing_config_are_still_compared() {
    // The model's config says nothing about the size of the features, which `data` gives to the decoder and the model.
    let text = without_config(&graph_text("quickstart.toml"), "model");
    let text = replaced(&text, "type = \"yt8m_decode\"", "type = \"yt8m_decode\"\nrgb_size = 24");
    let (errors, shown) = errors(&text);
    assert_eq!(errors.len(), 2, "{shown}");
    assert!(shown.contains("u8[frames, 24] is sent where u8[frames, 12] is wanted"), "{shown}");
}

#[test]
fn a_wrong_value_does_not_hide_a_shape_that_does_not_depend_on_it() {
    let text = replaced(
        &graph_text("quickstart.toml"),
        "type = \"yt8m_decode\"",
        "type = \"yt8m_decode\"\nrgb_size = 24",
    );
    let text =
        replaced(&text, "type = \"nextvlad_forward\"", "type = \"nextvlad_forward\"\nclusters = \"many\"");
    let (errors, shown) = errors(&text);
    assert_eq!(errors.len(), 2, "{shown}");
    assert!(shown.contains("`clusters` of stage `forward` must be a whole number"), "{shown}");
    assert!(shown.contains("u8[frames, 24] is sent where u8[frames, 12] is wanted"), "{shown}");
}

#[test]
fn the_weights_of_another_model_name_the_key_that_chooses_it() {
    let text = graph_text("quickstart-video.toml");
    let text = replaced(
        &text,
        "type = \"${YT8M_MODEL:-logistic}_forward\"",
        "type = \"mixture_of_experts_forward\"",
    );
    let (errors, shown) = errors(&text);
    assert_eq!(errors.len(), 1, "{shown}");
    assert!(
        shown.contains(
            "`model` of stage `optimizer` is \"logistic\": with `model = \"mixture_of_experts\"` the two fit"
        ),
        "{shown}"
    );
    assert!(shown.contains("`model` is chosen here"), "{shown}");
}

#[test]
fn frames_for_a_model_of_whole_videos_name_the_stage_to_insert() {
    let text = graph_text("quickstart-video.toml");
    // Without the averaging stage, frames arrive at the model.
    let text = replaced(&text, "from = \"pool\"", "from = \"decode\"");
    let at = text.find("[stages.pool]").unwrap();
    let end = at + text[at..].find("\n\n").unwrap();
    let (errors, shown) = errors(&(text[..at].to_owned() + &text[end..]));
    assert_eq!(errors.len(), 1, "{shown}");
    assert!(errors[0].contains("`mean_rgb` is wanted but not sent"), "{shown}");
    assert!(shown.contains("insert a stage of type `mean_pool` behind stage `decode`"), "{shown}");
}

#[test]
fn videos_for_a_model_of_frames_name_what_takes_them() {
    let text = graph_text("quickstart.toml");
    let (errors, shown) = errors(&replaced(&text, "type = \"yt8m_decode\"", "type = \"yt8m_video_decode\""));
    assert_eq!(errors.len(), 1, "{shown}");
    assert!(shown.contains("give stage `decode` the type `yt8m_decode`"), "{shown}");
    assert!(
        shown.contains("give stage `forward` a type that takes what is sent: `logistic_forward` or `mixture_of_experts_forward`"),
        "{shown}"
    );
}
