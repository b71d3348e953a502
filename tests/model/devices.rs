//! Law: a device that this build cannot use is refused, with what to do. That devices only place the work is a law of
//! `stages/tests/laws/device`, which runs on a card too.

#[cfg(not(feature = "cuda"))]
#[test]
fn a_graph_that_names_cuda_says_what_to_build_and_exits_with_69() {
    use crate::support::run::{load, set};
    use framewise_pipeline::engine::{Pipeline, RunOptions};

    let graph = load("quickstart.toml", &set(&[r#"stages.forward.devices=["cuda:0"]"#]));
    let error = Pipeline::build(&graph, &framewise_stages::registry(), &RunOptions::default()).unwrap_err();
    assert_eq!(error.stage, "forward");
    assert_eq!(error.failure.kind.exit_code(), 69);
    assert!(error.to_string().contains("--features cuda"), "{error}");
}
