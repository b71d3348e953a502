//! Laws: hundreds of stages run. A stage that cannot be built, or whose thread cannot start, is named and leaves
//! nothing behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use framewise_pipeline::engine::{RunOptions, Status};
use framewise_pipeline::testing::{GraphBuilder, Token, input, items, output, ports, stage_fn, within};
use framewise_pipeline::{ErrorKind, Failure, Output};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn two_hundred_stages_in_a_chain_work() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 500);
    let names: Vec<_> = (0..200).map(|i| format!("pass{i}")).collect();
    names.iter().for_each(|name| _ = graph.pass(name));
    let sink = graph.collect("sink");
    let chain: Vec<_> =
        std::iter::once("source").chain(names.iter().map(String::as_str)).chain(["sink"]).collect();
    graph.chain(&chain, items(2));
    let outcome = within(LIMIT, || graph.run());
    assert!(matches!(outcome.status, Status::Done));
    assert_eq!(sink.values(), (0..500).collect::<Vec<_>>());
    assert!(sink.ended());
    for stage in &outcome.monitor.stages()[1..201] {
        let now = stage.meter.read();
        assert_eq!((now.items_in, now.items_out), (500, 500));
    }
}

#[test]
fn two_hundred_consumers_of_one_output_work() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 50);
    let names: Vec<_> = (0..200).map(|i| format!("sink{i}")).collect();
    let sinks: Vec<_> = names.iter().map(|name| graph.collect(name)).collect();
    names.iter().for_each(|name| _ = graph.chain(&["source", name], items(1)));
    assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
    assert!(sinks.iter().all(|sink| sink.values() == (0..50).collect::<Vec<_>>() && sink.ended()));
}

/// A graph whose second stage is built by `build`. The first stage holds the handle that is returned.
fn with_second(
    build: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    begun: &Arc<AtomicUsize>,
) -> (GraphBuilder, Weak<()>) {
    let mut graph = GraphBuilder::new();
    let held = Arc::new(());
    let left = Arc::downgrade(&held);
    let count = begun.clone();
    graph.source("first", move |_: Output<Token>| {
        let _held = held;
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    graph.stage("second", ports(&[input::<Token>("input")], &[output::<Token>("output")]), |_, _| {
        build()?;
        Ok(stage_fn(|| Ok(())))
    });
    graph.collect("third");
    graph.chain(&["first", "second", "third"], items(1));
    (graph, left)
}

/// The names of this process's threads.
#[cfg(target_os = "linux")]
fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the listing and the look at its name.
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn a_stage_that_cannot_be_built_is_named() {
    let begun = Arc::new(AtomicUsize::new(0));
    let (graph, held) =
        with_second(|| Err(Failure::new(ErrorKind::NotFound, "no such file: a.tfrecord")), &begun);
    let error = graph.build(&RunOptions::default()).unwrap_err();
    assert_eq!((error.stage.as_str(), error.failure.kind), ("second", ErrorKind::NotFound));
    assert_eq!(error.to_string(), "stage `second`: no such file: a.tfrecord");
    // Nothing has run, no thread is left, and what the first stage held is released.
    assert_eq!(begun.load(Ordering::SeqCst), 0);
    assert!(held.upgrade().is_none());
    #[cfg(target_os = "linux")]
    // The samplers of other tests run in this process too.
    assert!(!thread_names().iter().any(|name| ["first", "second", "third"].contains(&name.as_str())));
}

#[test]
fn a_panic_while_a_stage_is_built_is_its_failure() {
    let begun = Arc::new(AtomicUsize::new(0));
    let (graph, held) = with_second(|| std::panic::resume_unwind(Box::new("no device")), &begun);
    let error = graph.build(&RunOptions::default()).unwrap_err();
    assert_eq!((error.stage.as_str(), error.failure.kind), ("second", ErrorKind::Internal));
    assert_eq!(error.failure.to_string(), "panicked: no device");
    assert!(held.upgrade().is_none());
}

#[test]
fn a_port_of_another_type_or_name_is_an_internal_failure() {
    for port in ["input", "output", "nowhere"] {
        let mut graph = GraphBuilder::new();
        let both = ports(&[input::<Token>("input")], &[output::<Token>("output")]);
        graph.counting_source("source", 1);
        graph.stage("stage", both, move |wiring, _| {
            #[derive(Clone)]
            struct Other;
            impl framewise_pipeline::Payload for Other {
                const NAME: &'static str = "others";
            }
            match port {
                "input" => drop(wiring.input::<Other>("input")?),
                "output" => drop(wiring.output::<Other>("output")?),
                _ => drop(wiring.input::<Token>("nowhere")?),
            }
            Ok(stage_fn(|| Ok(())))
        });
        graph.chain(&["source", "stage"], items(1));
        let error = graph.build(&RunOptions::default()).unwrap_err();
        assert_eq!((error.stage.as_str(), error.failure.kind), ("stage", ErrorKind::Internal));
        assert!(error.failure.to_string().contains(&format!("`{port}`")), "{error}");
    }
}

#[test]
fn a_pipeline_that_is_not_run_leaves_nothing() {
    let begun = Arc::new(AtomicUsize::new(0));
    let (graph, held) = with_second(|| Ok(()), &begun);
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    assert!(held.upgrade().is_some());
    drop(pipeline);
    assert!(held.upgrade().is_none());
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

/// The body of the next test, in a process of its own with little address space.
#[test]
#[ignore = "run by the next test under a limit"]
fn run_with_too_little_memory() {
    // This takes all the address space there is. Then it gives back 7 or 8 times 8 MiB: enough for three stacks of 16
    // MiB, some small ones and the heap, but not for four stacks.
    const BLOCK: usize = 8 << 20;
    let block = || {
        let mut block = Vec::<u8>::new();
        block.try_reserve_exact(BLOCK).is_ok().then_some(block)
    };
    let mut taken: Vec<_> = Vec::with_capacity(1000);
    taken.extend(std::iter::from_fn(block).take(1000));
    assert!((10..1000).contains(&taken.len()), "the process is not limited: {} blocks", taken.len());
    taken.drain(..7);

    let begun = Arc::new(AtomicUsize::new(0));
    let mut graph = GraphBuilder::new();
    for i in 0..8 {
        let count = begun.clone();
        graph.source(&format!("stage{i}"), move |_: Output<Token>| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
    }
    let outcome = graph.run();
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!(error.stage, "stage3");
    assert!(error.failure.to_string().starts_with("cannot start a thread"), "{error}");
    assert_eq!(begun.load(Ordering::SeqCst), 0, "no stage starts before every thread has");
}

#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_cannot_start_is_named_and_no_stage_begins() {
    let this = std::env::current_exe().unwrap();
    // The limit of the address space in KiB.
    let command =
        "ulimit -v 1000000; exec \"$0\" --exact scale::run_with_too_little_memory --ignored --nocapture";
    let mut child = std::process::Command::new("sh");
    // glibc takes 64 MiB of addresses for the heap of every thread, where they can be had.
    let child = child.arg("-c").arg(command).arg(this).env("MALLOC_ARENA_MAX", "1").output().unwrap();
    let told = [child.stdout, child.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(child.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn a_panic_while_a_payload_is_dropped_is_not_lost() {
    // The item is dropped with the channel, after the bodies have returned and their panics were caught. The thread of
    // the sink or of the source drops it, whichever lets go of the channel last.
    struct Bomb;
    impl Clone for Bomb {
        fn clone(&self) -> Self {
            Bomb
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            if let Some("source" | "sink") = std::thread::current().name() {
                std::panic::resume_unwind(Box::new("dropped"));
            }
        }
    }
    impl framewise_pipeline::Payload for Bomb {
        const NAME: &'static str = "bombs";
    }
    let mut graph = GraphBuilder::new();
    let gate = framewise_pipeline::testing::Gate::closed();
    let sent = gate.clone();
    graph.source("source", move |mut output: Output<Bomb>| {
        output.send(Bomb)?;
        sent.release();
        Ok(())
    });
    graph.sink("sink", move |input: framewise_pipeline::Input<Bomb>| {
        gate.pass();
        drop(input);
        Ok(())
    });
    graph.chain(&["source", "sink"], items(1));
    let outcome = within(LIMIT, || graph.run());
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert!(["source", "sink"].contains(&error.stage.as_str()), "{error}");
    assert_eq!(error.failure.to_string(), "panicked: dropped");
}
