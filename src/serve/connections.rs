//! The connections of the server: how many there are, and how long each may take.
//!
//! Law: a client gets a fixed time for its headers and for the whole connection, whatever it does. Clients above the
//! limit are turned away at once, so they neither wait nor take memory.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::prometheus;
use super::routes::{self, Shown};

/// The most connections at a time. A browser opens six, and a Prometheus server one.
const MOST: usize = 32;
/// The time that a client has to send the headers of a request.
const HEADERS: Duration = Duration::from_secs(5);
/// The time after which a connection is closed, also one that is in use. Clients open another.
const WHOLE: Duration = Duration::from_secs(60);
/// The time that a client then has to take the answer that is being sent.
const LAST: Duration = Duration::from_secs(5);
/// The most bytes of the headers of a request, the least that hyper allows.
const HEADER_BYTES: usize = 8 << 10;
/// The most header lines of a request.
const HEADER_LINES: usize = 64;
/// The pause after the system could not accept a connection, for example because all file descriptors are in use.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `ended` resolves.
pub(super) async fn serve(listener: TcpListener, shown: Arc<Shown>, ended: oneshot::Receiver<()>) {
    tokio::select! {
        () = accept(listener, shown.clone()) => {}
        () = prometheus::keep_up(&shown.metrics) => {}
        _ = ended => {}
    }
}

async fn accept(listener: TcpListener, shown: Arc<Shown>) {
    let places = Arc::new(Semaphore::new(MOST));
    let routes = routes::routes(shown);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Without a place the stream is dropped, which closes it.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(HEADER_BYTES)
                .max_headers(HEADER_LINES)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            // What goes wrong on a connection is the client's business.
            if timeout(WHOLE, connection.as_mut()).await.is_err() {
                // The answer that is being sent is finished, if the client takes it.
                connection.as_mut().graceful_shutdown();
                let _ = timeout(LAST, connection).await;
            }
            drop(place);
        });
    }
}
