use std::collections::BTreeMap;

use super::*;
use crate::observe::view::{EdgeView, LimitView, StageView, UnitView};

/// A reading after `seconds` of the graph videos → decode → sink, in which `decode` has sent ten items a second and
/// limits the run. `sink` is written with these characters.
pub(in crate::top) fn view(seconds: f64, sink: &str) -> RunView {
    let stage = |name: &str, items_in: f64, items_out: f64, busy: f64, input_wait: f64| StageView {
        name: name.to_owned(),
        type_name: format!("{name}_type"),
        workers: 2,
        items_in: items_in as u64,
        items_out: items_out as u64,
        bytes_in: 1000,
        bytes_out: 2000,
        items_per_second: if items_out > 0.0 { items_out / seconds } else { items_in / seconds },
        busy,
        input_wait,
        output_wait: 1.0 - busy - input_wait,
        ended: 0.0,
        rejected: BTreeMap::from([("data_crc".to_owned(), 3)]),
        counts: BTreeMap::from([("left_out".to_owned(), 4)]),
    };
    let edge = |from: &str, to: String, items| EdgeView {
        from: from.to_owned(),
        to,
        items,
        bytes: 100,
        capacity_items: 64,
        capacity_bytes: 1 << 20,
        mean_fill: Some(0.5),
        output_wait: 0.25,
        input_wait: 0.125,
    };
    let items = seconds * 10.0;
    RunView {
        version: 1,
        graph: "trial".into(),
        seconds,
        cpu_seconds: Some(seconds),
        read: None,
        seconds_left: None,
        stages: vec![
            stage("videos", 0.0, items * 2.0, 0.25, 0.0),
            stage("decode", items, items, 0.875, 0.125),
            stage(sink, items, 0.0, 0.125, 0.875),
        ],
        edges: vec![
            edge("videos.records", "decode.records".into(), 63),
            edge("decode.examples", format!("{sink}.input"), 1),
        ],
        units: vec![UnitView { stages: vec!["decode".into()], utilization: 0.875 }],
        bottleneck: LimitView {
            stage: Some("decode".into()),
            reason: "computes".into(),
            why: "it works".into(),
            advice: "`stages.decode.workers = 3` brings at most 1.5 times the rate".into(),
            at_most: Some(1.5),
        },
        ranks: Vec::new(),
    }
}

/// A state that has learned of ten seconds of the run.
pub(in crate::top) fn learned(sink: &str) -> State {
    let mut state = State::new("runs/trial-1  127.0.0.1:9600".into());
    for second in 1..=10 {
        state.learn(News::Reading(view(f64::from(second), sink)));
    }
    let message = |text: &str, level: &str| Message {
        seconds: 1.5,
        level: level.into(),
        stage: Some(sink.into()),
        text: text.into(),
    };
    state.learn(News::Log(vec![message("one", "info"), message("two\nlines", "warning")]));
    state
}

const KEYS: [Key; 24] = [
    Key::Up,
    Key::Down,
    Key::PageUp,
    Key::PageDown,
    Key::Home,
    Key::End,
    Key::Enter,
    Key::Escape,
    Key::Char('k'),
    Key::Char('j'),
    Key::Char('g'),
    Key::Char('G'),
    Key::Char('t'),
    Key::Char('d'),
    Key::Char('e'),
    Key::Char('l'),
    Key::Char('h'),
    Key::Char('?'),
    Key::Char('s'),
    Key::Char('f'),
    Key::Char(' '),
    Key::Char('q'),
    Key::Char('x'),
    Key::Char('動'),
];

#[test]
fn no_two_keys_break_a_display_without_readings() {
    for first in KEYS {
        for second in KEYS {
            let mut state = State::new("nowhere".into());
            state.press(first);
            state.press(second);
            assert_eq!((state.selected, state.order()), (0, Vec::new()), "{first:?} {second:?}");
        }
    }
}

#[test]
fn the_keys_of_the_pictures_lead_there_and_back() {
    let mut state = learned("sink");
    for (key, screen) in [
        (Key::Enter, Screen::Details),
        (Key::Escape, Screen::Stages),
        (Key::Char('e'), Screen::Edges),
        (Key::Char('l'), Screen::Log),
        (Key::Char('?'), Screen::Help),
        (Key::Char('t'), Screen::Stages),
        (Key::Char('d'), Screen::Details),
        (Key::Enter, Screen::Stages),
    ] {
        assert!(state.press(key));
        assert_eq!(state.screen, screen, "{key:?}");
    }
    assert!(!state.press(Key::Escape), "there is nowhere to go back to");
    assert!(!learned("sink").press(Key::Char('q')));
}

#[test]
fn arrows_go_along_the_rows_as_they_are_sorted() {
    let mut state = learned("sink");
    assert_eq!(state.order(), [0, 1, 2]);
    state.press(Key::Char('s'));
    assert_eq!((state.sort, state.order()), (Sort::Busy, vec![1, 0, 2]));
    state.press(Key::Home);
    assert_eq!(state.selected, 1);
    state.press(Key::Down);
    assert_eq!(state.selected, 0);
    state.press(Key::PageDown);
    state.press(Key::Down);
    state.press(Key::End);
    assert_eq!(state.selected, 2, "the last row is the end");
    state.press(Key::Char('s'));
    assert_eq!((state.sort, state.order()), (Sort::InputWait, vec![2, 1, 0]));
    assert_eq!(state.selected, 2, "the selection stays with its stage");
    (0..3).for_each(|_| _ = state.press(Key::Char('s')));
    assert_eq!(state.sort, Sort::Graph);
}

#[test]
fn a_frozen_screen_stays_while_the_run_goes_on() {
    let mut state = learned("sink");
    state.press(Key::Char('f'));
    state.learn(News::Reading(view(11.0, "sink")));
    let seconds = |state: &State| state.shown().view.as_ref().map(|view| view.seconds);
    assert_eq!((seconds(&state), state.is_frozen()), (Some(10.0), true));
    state.press(Key::Char(' '));
    assert_eq!((seconds(&state), state.is_frozen()), (Some(11.0), false));
}

#[test]
fn the_figures_are_those_of_the_last_seconds() {
    let state = learned("sink");
    let live = &state.shown().live;
    // `videos` and `decode` count what they send, and the sink what it receives.
    assert_eq!(live.iter().map(|live| live.items).collect::<Vec<_>>(), [200, 100, 100]);
    for (live, (rate, busy)) in live.iter().zip([(20.0, 0.25), (10.0, 0.875), (10.0, 0.125)]) {
        assert!((live.rate - rate).abs() < 1e-9 && (live.busy - busy).abs() < 1e-9, "{live:?}");
    }
}

#[test]
fn the_last_reading_stays_when_the_run_has_ended_and_trouble_passes() {
    let mut state = learned("sink");
    state.learn(News::Trouble("late".into()));
    assert_eq!(state.trouble.as_deref(), Some("late"));
    state.learn(News::Reading(view(11.0, "sink")));
    assert_eq!(state.trouble, None);
    state.learn(News::Ended("the run has ended: ok".into()));
    assert_eq!(state.shown().view.as_ref().map(|view| view.seconds), Some(11.0));
    assert!(state.press(Key::Down) && state.ended.is_some());
}

#[test]
fn another_run_at_the_address_begins_anew() {
    let mut state = learned("sink");
    // A later reading with fewer items, and one of fewer stages.
    let mut other = view(2.0, "sink");
    other.seconds = 20.0;
    state.learn(News::Reading(other));
    assert_eq!(state.shown().readings.len(), 1);
    let mut other = view(30.0, "sink");
    other.stages.truncate(1);
    state.learn(News::Reading(other));
    assert_eq!((state.shown().live.len(), state.shown().readings.len()), (1, 1));
}
