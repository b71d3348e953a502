use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::observe::ranks::RankView;
use crate::observe::view::RunView;
use crate::top::poll::News;
use crate::top::state::Key;
use crate::top::state::tests::{learned, view};

/// The sizes at which every picture must be right, as columns and rows.
const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (200, 50), (1, 1)];

/// The keys of all pictures.
const PICTURES: [char; 5] = ['t', 'd', 'e', 'l', '?'];

/// A name with a control character, a line end, wide and joined characters, and one of the other direction.
const ODD: &str = "s\u{1b}[2Jk\n動画👩‍👩‍👧\u{202e}\u{7f}";

/// The lines of a screen of this size.
fn lines(state: &mut State, (columns, rows): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| -> String { (0..columns).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..rows).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn every_picture_can_be_drawn_at_every_size_before_and_after_the_first_reading() {
    for size in SIZES {
        for picture in PICTURES {
            for mut state in [State::new("nowhere".into()), learned("sink"), learned(ODD)] {
                state.press(Key::Char(picture));
                for key in
                    [Key::Up, Key::End, Key::PageDown, Key::Down, Key::PageUp, Key::Char('s'), Key::Char('f')]
                {
                    state.press(key);
                    let lines = lines(&mut state, size);
                    let text = lines.concat();
                    assert!(!text.contains(|c: char| c.is_control()), "{picture} at {size:?}: {text:?}");
                }
            }
        }
    }
}

#[test]
fn the_table_fits_small_and_large_terminals() {
    let small = lines(&mut learned("sink"), (40, 12));
    assert_eq!(small[0], "trial  10.0s  runs/trial-1  127.0.0.1:96");
    assert_eq!(small[1], "  stage   items/s  busy   in  out  queue");
    assert_eq!(small[2], "  videos     20.0   25%   0%  75%");
    assert_eq!(small[3], "▶ decode     10.0   88%  12%   0%  63/64");
    assert_eq!(small[4], "  sink       10.0   12%  88%   0%   1/64");
    assert_eq!(small[8], "▶ decode computes:");
    assert!(small[11].starts_with("q quit  ? help"), "{small:?}");

    let middle = lines(&mut learned("sink"), (80, 24));
    let head = "  stage   items  items/s  █ busy ▒ out ░ in     busy   in  out  queue";
    assert_eq!(middle[1], head);
    assert_eq!(middle[3], "▶ decode    100     10.0  ██████████████████░░   88%  12%   0%  63/64");

    let large = lines(&mut learned("sink"), (200, 50));
    assert!(large[1].starts_with("  stage   type         items  items/s  █ busy"), "{}", large[1]);
    assert_eq!(large[48], "▶ decode computes: `stages.decode.workers = 3` brings at most 1.5 times the rate");
}

#[test]
fn the_slowest_of_several_ranks_is_named_below_the_limit() {
    let mut state = learned("sink");
    let rank = |rank, waited| RankView {
        rank,
        host: format!("host-{rank}"),
        steps: 7,
        waited_seconds: waited * 10.0,
        waited: Some(waited),
        heard_seconds: Some(0.5),
        limiting: Some("decode".into()),
        slowest: rank == 1,
    };
    let ranks = vec![rank(0, 0.3), rank(1, 0.01)];
    state.learn(News::Reading(RunView { ranks, ..view(11.0, "sink") }));
    let lines = lines(&mut state, (120, 24));
    assert!(lines[21].starts_with("▶ decode computes"), "{lines:#?}");
    let expected = "2 ranks wait 1% to 30% of the time for each other: rank 1 (host-1) is the slowest, limited by its stage decode";
    assert_eq!(lines[22], expected);
}

#[test]
fn the_selected_stage_is_always_in_sight() {
    for sort in 0..5 {
        for stage in 0..3 {
            let mut state = learned("sink");
            (0..sort).for_each(|_| _ = state.press(Key::Char('s')));
            state.selected = stage;
            // One row is left for the stages, and the limit has no line.
            let lines = lines(&mut state, (60, 4));
            assert!(lines[2].contains(["videos", "decode", "sink"][stage]), "{lines:?}");
        }
    }
}

#[test]
fn the_details_show_ports_waits_and_curves() {
    let mut state = learned("sink");
    state.selected = 1;
    state.press(Key::Enter);
    let lines = lines(&mut state, (80, 24));
    assert_eq!(lines[1], "decode (decode_type), 2 workers  ▶ limits the run");
    for expected in [
        "in   100 items, 1.00 kB",
        "run  10.0/s  busy 88%  waiting in 12%  waiting out 0%  ended 0%",
        "now  10.0/s  busy 88%  waiting in 12%  waiting out 0%",
        "◀ records  videos.records  queue 63/64, 50% full on average  waited 12% of the",
        "▶ examples  sink.input  queue 1/64, 50% full on average  waited 25% of the run",
        "rejected data_crc: 3",
        "left_out: 4",
        "items/s, at most 10.0",
        "busy, at most 88%",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\n{lines:#?}");
    }
}

#[test]
fn edges_messages_and_help_are_shown_and_scrolled() {
    let mut state = learned("sink");
    state.press(Key::Char('e'));
    let edges = lines(&mut state, (80, 24));
    assert!(
        edges[2].starts_with("videos.records   decode.records  63/64        50%           25%"),
        "{edges:#?}"
    );
    state.press(Key::Char('l'));
    let log = lines(&mut state, (80, 24));
    assert_eq!(log[1..4], ["1.50s sink: one", "1.50s sink: two", "lines"]);
    // The newest message stays in sight where there is little room, and the older ones are scrolled to.
    assert_eq!(lines(&mut state, (80, 3))[1], "lines");
    state.press(Key::Up);
    assert_eq!(lines(&mut state, (80, 3))[1], "1.50s sink: two");
    state.press(Key::PageUp);
    state.press(Key::PageUp);
    state.press(Key::Up);
    assert_eq!(lines(&mut state, (80, 3))[1], "1.50s sink: one");
    state.press(Key::End);
    assert_eq!(lines(&mut state, (80, 3))[1], "lines");
    state.press(Key::Char('?'));
    assert!(lines(&mut state, (40, 12))[1].contains("q             quit"));
    state.press(Key::End);
    assert!(lines(&mut state, (40, 12))[10].ends_with("of it."));
}

#[test]
fn what_is_out_of_the_ordinary_stands_in_the_first_line() {
    let mut state = learned("sink");
    state.learn(News::Trouble("127.0.0.1:9600 does not answer within 5 seconds".into()));
    assert!(lines(&mut state, (80, 24))[0].contains("does not answer"));
    state.press(Key::Char('f'));
    state.learn(News::Reading(view(11.0, "sink")));
    state.learn(News::Ended("the run has ended: ok after 11.0s".into()));
    let first = lines(&mut state, (80, 24)).swap_remove(0);
    assert!(first.starts_with("trial  10.0s  FROZEN  the run has ended: ok after 11.0s  runs/"), "{first}");
    assert_eq!(lines(&mut State::new("x".into()), (80, 24))[0], "waiting for the first reading  x");
}
