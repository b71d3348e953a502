//! Laws: a stage learns which of how many processes it runs in, and a process whose rank does not exist builds nothing.

use std::sync::mpsc;

use framewise_pipeline::engine::RunOptions;
use framewise_pipeline::testing::{GraphBuilder, ports, stage_fn};

/// Builds a graph of one stage with these options; returns what the stage was told, or the error.
fn told(options: &RunOptions) -> Result<(usize, usize), String> {
    let (tell, told) = mpsc::channel();
    let mut graph = GraphBuilder::new();
    graph.stage("alone", ports(&[], &[]), move |_, context| {
        tell.send((context.rank, context.ranks)).unwrap();
        Ok(stage_fn(|| Ok(())))
    });
    graph.build(options).map_err(|error| error.to_string())?;
    Ok(told.recv().unwrap())
}

#[test]
fn a_stage_is_told_its_rank_and_the_number_of_ranks() {
    assert_eq!(told(&RunOptions::default()), Ok((0, 1)));
    assert_eq!(told(&RunOptions { rank: 2, ranks: 3, ..RunOptions::default() }), Ok((2, 3)));
}

#[test]
fn a_rank_that_does_not_exist_is_refused() {
    for (rank, ranks) in [(1, 1), (3, 3), (0, 0)] {
        let error = told(&RunOptions { rank, ranks, ..RunOptions::default() }).unwrap_err();
        assert!(error.contains(&format!("rank {rank} of {ranks}")), "{error}");
    }
}
