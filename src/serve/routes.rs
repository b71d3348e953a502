//! What the server answers: `/metrics` for Prometheus, and the paths below `/api/` for programs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use framewise_pipeline::engine::monitor::Monitor;
use metrics_exporter_prometheus::PrometheusHandle;

use super::checkpoints::CheckpointsView;
use super::{page, prometheus, tap};
use crate::observe::journal::Journal;
use crate::observe::ranks::Board;
use crate::observe::view::{HistoryView, NumbersView, RunView};

/// What the server shows.
pub(super) struct Shown {
    pub(super) monitor: Monitor,
    pub(super) journal: Arc<Journal>,
    /// What is heard of the ranks, where several make the run.
    pub(super) ranks: Option<Arc<Board>>,
    pub(super) metrics: PrometheusHandle,
    pub(super) graph: Facts,
    /// Whether other machines may ask, by any name of this one.
    pub(super) allows_remote: bool,
}

/// What stays the same over a run.
pub(crate) struct Facts {
    /// The drawing of the graph, an SVG.
    pub(crate) drawing: String,
    /// The graph as it runs, in TOML.
    pub(crate) resolved: String,
    /// The directory of the checkpoints, if the run writes any.
    pub(crate) checkpoints: Option<PathBuf>,
}

/// The table of paths.
pub(super) fn routes(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/reading", get(reading))
        .route("/api/history", get(history))
        .route("/api/numbers", get(numbers))
        .route("/api/log", get(log))
        .route("/api/graph", get(drawing))
        .route("/api/resolved", get(resolved))
        .route("/api/checkpoints", get(checkpoints))
        .route("/api/tap/{port}/{count}", get(packets))
        .merge(page::routes())
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "there is nothing here; see /, /metrics and /api/reading\n")
        })
        .layer(from_fn(read_only))
        .layer(from_fn_with_state(shown.clone(), for_this_machine))
        .with_state(shown)
}

/// Refuses requests for a name that is not this machine's. A page in a browser could otherwise give its own name the
/// address 127.0.0.1 and read what is shown here.
async fn for_this_machine(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if shown.allows_remote || is_address(host) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "ask for this server by its address, such as 127.0.0.1\n")
        .into_response()
}

/// Whether the host of a request is an address or `localhost`, with or without a port.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || inner.parse::<IpAddr>().is_ok()
}

/// Refuses everything that is not a plain question, and marks every answer as one that must not be kept or framed.
async fn read_only(request: Request, next: Next) -> Response {
    let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
        || request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let mut response = if has_body {
        (StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here\n").into_response()
    } else if ![Method::GET, Method::HEAD].contains(request.method()) {
        (StatusCode::METHOD_NOT_ALLOWED, "this server only shows\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if has_body {
        // What follows on this connection is a body that nobody reads.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], prometheus::text(&shown.metrics)).into_response()
}

async fn reading(State(shown): State<Arc<Shown>>) -> Response {
    let view = RunView::of(&shown.monitor, &shown.monitor.read());
    json(view.with_ranks(shown.ranks.as_deref()).to_json())
}

async fn history(State(shown): State<Arc<Shown>>) -> Response {
    json(HistoryView::of(&shown.monitor).to_json())
}

async fn numbers(State(shown): State<Arc<Shown>>) -> Response {
    json(NumbersView::of(&shown.monitor, &shown.journal).to_json())
}

async fn log(State(shown): State<Arc<Shown>>) -> Response {
    json(format!("{{\"version\":1,\"lines\":[{}]}}\n", shown.journal.newest().join(",")))
}

async fn drawing(State(shown): State<Arc<Shown>>) -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml")], shown.graph.drawing.clone()).into_response()
}

async fn resolved(State(shown): State<Arc<Shown>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], shown.graph.resolved.clone()).into_response()
}

async fn checkpoints(State(shown): State<Arc<Shown>>) -> Response {
    json(CheckpointsView::of(shown.graph.checkpoints.as_deref()).to_json())
}

async fn packets(State(shown): State<Arc<Shown>>, Path((port, count)): Path<(String, u64)>) -> Response {
    match tap::look(&shown.monitor, &port, count).await {
        Ok(text) => json(text),
        Err(refusal) => refusal.into_response(),
    }
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_this_machine_and_other_names_are_not() {
        for host in ["127.0.0.1:9600", "127.0.0.1", "localhost:80", "LOCALHOST", "[::1]:9600", "[::1]"] {
            assert!(is_address(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9600", "127.0.0.1.evil.example", "localhost.evil", "::x"]
        {
            assert!(!is_address(host), "{host}");
        }
    }
}
