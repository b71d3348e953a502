//! The server of a running graph: `--metrics ADDR`. It shows the readings of the run and takes nothing.
//!
//! Laws: the server has a thread of its own and only reads, so neither a client that hangs nor one that attacks holds the
//! run up. Connections are few, and each has bounded time, bounded headers and no body. Only loopback addresses are
//! served unless the user asks for more.

mod checkpoints;
mod connections;
mod live;
mod page;
mod prometheus;
mod routes;
mod tap;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::{ErrorKind, Failure};
use tokio::sync::oneshot;

use crate::exit::UsageError;
use crate::observe::journal::Journal;
use crate::observe::ranks::Board;
use live::LiveFile;
use routes::Shown;

pub(crate) use live::LIVE;
pub(crate) use routes::Facts;

/// An address that is bound and not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    allows_remote: bool,
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _live: LiveFile,
}

/// Binds `address`, which is `HOST:PORT`. With port 0 the system chooses a free port.
///
/// # Errors
/// A usage error for an address that is none, or one that is not loopback without `allow_remote`. `Unavailable` for an
/// address that cannot be bound, such as a port that is taken.
pub(crate) fn bind(address: &str, allow_remote: bool) -> anyhow::Result<Bound> {
    let unknown = |error: io::Error| {
        UsageError(format!(
            "--metrics {address} is no address to serve at ({error}); write HOST:PORT, such as 127.0.0.1:9600"
        ))
    };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(unknown)?.collect();
    if let Some(remote) = addresses.iter().find(|found| !found.ip().is_loopback() && !allow_remote) {
        let why = format!(
            "--metrics {address} would show the run to other machines ({}): anybody who reaches the port reads the graph, \
             its paths and its log. Use 127.0.0.1, or add --metrics-allow-remote",
            remote.ip()
        );
        return Err(UsageError(why).into());
    }
    let cannot = |error: io::Error| {
        let text =
            format!("cannot serve at {address}: {error}; choose another port with --metrics HOST:PORT");
        Failure::new(ErrorKind::Unavailable, text)
    };
    let listener = TcpListener::bind(&addresses[..]).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    Ok(Bound { listener, address, allows_remote: allow_remote })
}

impl Bound {
    /// The address, with the port that the system chose.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the readings of `monitor`, the messages of `journal`, what `ranks` hears and the facts of the graph. While the server lives, `live.json` in the run
    /// directory says where it is.
    ///
    /// # Errors
    /// `CannotWrite` for the file, and `Unavailable` when the server cannot be started.
    pub(crate) fn serve(
        self,
        monitor: Monitor,
        journal: Arc<Journal>,
        ranks: Option<Arc<Board>>,
        graph: Facts,
        run_dir: &Path,
    ) -> Result<Server, Failure> {
        let unavailable = |error: &dyn std::fmt::Display| {
            Failure::new(ErrorKind::Unavailable, format!("cannot serve: {error}"))
        };
        let metrics = prometheus::install().map_err(|e| unavailable(&e))?;
        let live = LiveFile::create(run_dir, self.address, monitor.graph())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|e| unavailable(&e))?;
        let shown =
            Arc::new(Shown { monitor, journal, ranks, metrics, graph, allows_remote: self.allows_remote });
        let (end, ended) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(self.listener) {
                    Ok(listener) => connections::serve(listener, shown, ended).await,
                    Err(error) => crate::terminal::error(&format!("cannot serve: {error}")),
                }
            });
        };
        let thread =
            thread::Builder::new().name("metrics".into()).spawn(serve).map_err(|e| unavailable(&e))?;
        Ok(Server { end: Some(end), thread: Some(thread), _live: live })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked was reported by the panic hook. The run is not touched by it.
            let _ = thread.join();
        }
    }
}
