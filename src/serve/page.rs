//! The page at `/`, which draws what the server knows. Its files are part of the program.
//!
//! Law: the page asks this server for everything. [`POLICY`] makes browsers refuse anything else.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// What browsers may load for a page of this server: files of the server itself, and no script or style in the text of
/// a page.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files of the page: the path, the type and the content.
const FILES: [(&str, &str, &str); 6] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/graph.js", SCRIPT, include_str!("page/graph.js")),
    ("/curves.js", SCRIPT, include_str!("page/curves.js")),
    ("/icon.svg", SVG, include_str!("page/icon.svg")),
];

/// The table of the page's files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(
            path,
            get(async move || -> Response { ([(header::CONTENT_TYPE, kind)], content).into_response() }),
        )
    })
}
