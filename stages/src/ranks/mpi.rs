//! The link over MPI. mpirun, srun or another launcher of MPI starts the ranks.
//!
//! All messages go through point-to-point operations that do not block, and are asked for until they are done. So several stages
//! of a rank can exchange at the same time, and a thread that waits leaves its core to others.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::datatype::Equivalence;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::request::{self, LocalScope, Request};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::link::{Incoming, Link, LinkError, Outgoing};

/// The bytes that are sent in one message. A larger message would not fit the counts of MPI.
const PIECE: usize = 64 << 20;

/// The time for which a thread asks without a pause. What takes longer is worth a pause.
const BUSY: Duration = Duration::from_millis(2);

/// The pause between two questions.
const PAUSE: Duration = Duration::from_micros(50);

/// MPI, from its beginning to its end. Dropping it ends MPI, for which all ranks must come together.
pub struct Session {
    _universe: Universe,
}

/// A rank's end of the link over MPI.
pub struct Mpi {
    rank: usize,
    size: usize,
    is_over: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// A message under way: its request until it is done, the rank that sends it, and the bytes that are expected.
type Pending<'s, 'a> = (Option<Request<'a, [u8], &'s LocalScope<'a>>>, usize, usize);

impl Session {
    /// Begins MPI in this process, once, and returns this rank's end of the link.
    ///
    /// # Errors
    /// The reason, where MPI has begun before or lets one thread alone call it.
    pub fn begin() -> Result<(Self, Mpi), String> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Multiple) else {
            return Err("MPI has begun in this process before".into());
        };
        if threading < Threading::Multiple {
            return Err(format!(
                "this installation of MPI lets no threads call it side by side (MPI_THREAD_MULTIPLE; it offers {threading:?})"
            ));
        }
        let world = universe.world();
        let count = |count: i32| usize::try_from(count).map_err(|_| format!("MPI counts {count} ranks"));
        let mpi = Mpi { rank: count(world.rank())?, size: count(world.size())?, is_over: OnceLock::new() };
        Ok((Self { _universe: universe }, mpi))
    }

    /// Ends all ranks at once, this one with `code`.
    pub fn abort(code: i32) -> ! {
        SimpleCommunicator::world().abort(code)
    }

    /// The name of this host.
    pub fn host() -> String {
        mpi::environment::processor_name().unwrap_or_default()
    }
}

impl Mpi {
    /// Hands in the function that says whether the run of this process is over. A thread that waits for a message then waits for
    /// the end of the process instead: its messages are under way, and the places for them must stay where they are.
    pub fn ends_when(&self, is_over: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.is_over.set(Box::new(is_over));
    }

    fn wait(&self) {
        thread::sleep(PAUSE);
        while self.is_over.get().is_some_and(|is_over| is_over()) {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(
        &self,
        tag: i32,
        outgoing: &[Outgoing<'_>],
        incoming: &mut [Incoming<'_>],
    ) -> Result<(), LinkError> {
        let world = SimpleCommunicator::world();
        let process = |rank: usize| {
            let rank = i32::try_from(rank).ok().filter(|_| rank < self.size);
            let none = || LinkError::System(format!("there is no such rank among {}", self.size));
            rank.map(|rank| world.process_at_rank(rank)).ok_or_else(none)
        };
        // Ranks that do not exist are refused before a request is made, because a request must come to its end.
        let sources = incoming.iter().map(|place| process(place.from)).collect::<Result<Vec<_>, _>>()?;
        let targets = outgoing.iter().map(|message| process(message.to)).collect::<Result<Vec<_>, _>>()?;
        let short = request::scope(|scope| {
            let mut taken = Vec::new();
            for (place, source) in incoming.iter_mut().zip(&sources) {
                for piece in place.bytes.chunks_mut(PIECE) {
                    let expected = piece.len();
                    let request = source.immediate_receive_into_with_tag(scope, piece, tag);
                    taken.push((Some(request), place.from, expected));
                }
            }
            let mut sent = Vec::new();
            for (message, target) in outgoing.iter().zip(&targets) {
                for piece in message.bytes.chunks(PIECE) {
                    sent.push((Some(target.immediate_send_with_tag(scope, piece, tag)), 0, 0));
                }
            }
            let mut short = None;
            self.complete(&mut taken, |from, expected, found| {
                if found != expected {
                    short.get_or_insert(LinkError::Length { rank: from, found, expected });
                }
            });
            self.complete(&mut sent, |_, _, _| {});
            short
        });
        short.map_or(Ok(()), Err)
    }
}

impl Mpi {
    /// Waits until every request is done, and tells of each the rank, the expected bytes and the bytes that came.
    fn complete<'a>(&self, requests: &mut [Pending<'_, 'a>], mut done: impl FnMut(usize, usize, usize)) {
        let begun = Instant::now();
        let mut first = 0;
        while first < requests.len() {
            let mut moved = false;
            for (request, rank, expected) in &mut requests[first..] {
                let Some(pending) = request.take() else { continue };
                match pending.test() {
                    Ok(status) => {
                        moved = true;
                        let found = usize::try_from(status.count(u8::equivalent_datatype()));
                        done(*rank, *expected, found.unwrap_or(usize::MAX));
                    }
                    Err(pending) => *request = Some(pending),
                }
            }
            while requests.get(first).is_some_and(|(request, ..)| request.is_none()) {
                first += 1;
            }
            if first < requests.len() && !moved {
                if begun.elapsed() < BUSY { thread::yield_now() } else { self.wait() }
            }
        }
    }
}
