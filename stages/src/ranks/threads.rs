//! A link between threads of one process. It stands for ranks where no launcher is, as in tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::link::{Incoming, Link, LinkError, Outgoing};

/// A thread's end of a link. When it is dropped, those that wait for its messages fail.
pub struct Threads {
    rank: usize,
    post: Arc<Post>,
}

/// The letters on their way, by (from, to, tag).
type Letters = BTreeMap<(usize, usize, i32), VecDeque<Vec<u8>>>;

struct Post {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    letters: Letters,
    gone: Vec<bool>,
}

impl Threads {
    /// The ends of a link between `size` threads, by rank.
    pub fn link(size: usize) -> Vec<Self> {
        let state = State { letters: BTreeMap::new(), gone: vec![false; size] };
        let post = Arc::new(Post { size, state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Self { rank, post: post.clone() }).collect()
    }
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.post.size
    }

    fn exchange(
        &self,
        tag: i32,
        outgoing: &[Outgoing<'_>],
        incoming: &mut [Incoming<'_>],
    ) -> Result<(), LinkError> {
        let mut state = self.post.lock();
        for message in outgoing {
            let letters = state.letters.entry((self.rank, message.to, tag)).or_default();
            letters.push_back(message.bytes.to_vec());
        }
        self.post.changed.notify_all();
        for place in incoming {
            let letter = loop {
                let letters = state.letters.get_mut(&(place.from, self.rank, tag));
                if let Some(letter) = letters.and_then(VecDeque::pop_front) {
                    break letter;
                }
                if state.gone.get(place.from).is_none_or(|gone| *gone) {
                    return Err(LinkError::Gone {
                        rank: place.from,
                        host: format!("thread {}", place.from),
                        own: self.rank,
                    });
                }
                state = self.post.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            if letter.len() != place.bytes.len() {
                let (rank, found, expected) = (place.from, letter.len(), place.bytes.len());
                return Err(LinkError::Length { rank, found, expected });
            }
            place.bytes.copy_from_slice(&letter);
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.post.lock().gone[self.rank] = true;
        self.post.changed.notify_all();
    }
}
