//! The questions to a run that is served (`run --metrics`).
//!
//! Law: every question has a limit of time and of size, so neither a run that hangs nor a program that is none of ours
//! holds up whoever asks.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::observe::packets::{PATIENCE, PacketsView};
use crate::observe::view::{HistoryView, RunView};

use super::log::{LogView, Message};

/// The time that an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The most bytes of an answer. The history of a graph of a hundred stages has about half of it.
const MOST: usize = 32 << 20;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody listens at the address.
    Gone(String),
    /// Somebody listens, and did not answer as a run does.
    Odd(String),
    /// The run says that it has no answer to this question, and why.
    Refused(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Gone(why) | Trouble::Odd(why) | Trouble::Refused(why) => f.write_str(why),
        }
    }
}

/// A client of one run.
#[derive(Debug)]
pub(crate) struct Client {
    /// `HOST:PORT`.
    address: String,
    runtime: Runtime,
}

impl Client {
    /// Makes a client of the run that is served at `address`, which is `HOST:PORT`. Nothing is asked yet.
    ///
    /// # Errors
    /// The system has no room for the client.
    pub(crate) fn new(address: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { address: address.to_owned(), runtime })
    }

    /// The address that is asked.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The reading of this moment, as JSON and as data.
    pub(crate) fn reading(&self) -> Result<(String, RunView), Trouble> {
        let text = self.get("/api/reading")?;
        let view = self.parsed(&text)?;
        Ok((text, view))
    }

    /// The readings so far.
    pub(crate) fn history(&self) -> Result<HistoryView, Trouble> {
        self.parsed(&self.get("/api/history")?)
    }

    /// The newest messages.
    pub(crate) fn log(&self) -> Result<Vec<Message>, Trouble> {
        let LogView { lines } = self.parsed(&self.get("/api/log")?)?;
        Ok(lines)
    }

    /// What passes an output from now on, as JSON and as data. The answer comes when `count` items have passed, or when no
    /// more do.
    pub(crate) fn packets(&self, port: &str, count: u64) -> Result<PacketsView, Trouble> {
        self.parsed(&self.get_within(&format!("/api/tap/{port}/{count}"), PATIENCE + LIMIT)?)
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, Trouble> {
        serde_json::from_str(text).map_err(|error| {
            Trouble::Odd(format!("what answers at {} is no run of this version: {error}", self.address))
        })
    }

    fn get(&self, path: &str) -> Result<String, Trouble> {
        self.get_within(path, LIMIT)
    }

    fn get_within(&self, path: &str, limit: Duration) -> Result<String, Trouble> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(limit, self.ask(path)).await });
        answer.unwrap_or_else(|_| {
            let seconds = limit.as_secs();
            Err(Trouble::Odd(format!("{} does not answer within {seconds} seconds", self.address)))
        })
    }

    async fn ask(&self, path: &str) -> Result<String, Trouble> {
        let address = &self.address;
        let gone =
            |error: &dyn std::fmt::Display| Trouble::Gone(format!("nothing answers at {address}: {error}"));
        let odd = |error: &dyn std::fmt::Display| {
            Trouble::Odd(format!("what answers at {address} is no run that is served: {error}"))
        };
        let stream = TcpStream::connect(address).await.map_err(|e| gone(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| odd(&e))?;
        // The connection ends with the sender, and reports to it.
        tokio::spawn(connection);
        let request = Request::get(path).header(HOST, address).body(Empty::<Bytes>::new());
        let request = request.map_err(|e| odd(&e))?;
        // A run that ends closes its connections, also those whose answer is under way.
        let response = sender.send_request(request).await.map_err(|error| {
            if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
                gone(&error)
            } else {
                odd(&error)
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|e| odd(&e))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            return Err(Trouble::Refused(text.trim().to_owned()));
        }
        if status != StatusCode::OK {
            return Err(odd(&format!("{status}: {}", text.trim())));
        }
        Ok(text)
    }
}
