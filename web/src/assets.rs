//! Our own files, embedded, under names that change with their content, so that browsers keep them for ever.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

/// A file as it is served.
#[derive(Debug)]
struct Asset {
    /// `gharvest.0123456789.css`
    name: String,
    content_type: &'static str,
    bytes: &'static [u8],
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset("gharvest", "css", "text/css; charset=utf-8", include_bytes!("assets/gharvest.css")),
        asset("gharvest", "js", "text/javascript; charset=utf-8", include_bytes!("assets/gharvest.js")),
        asset("gharvest", "svg", "image/svg+xml", include_bytes!("assets/gharvest.svg")),
    ]
});

fn asset(stem: &str, extension: &str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
    let hash = hex::encode(&ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[..5]);
    Asset { name: format!("{stem}.{hash}.{extension}"), content_type, bytes }
}

/// The path of the style sheet.
pub(crate) fn style() -> String {
    path(0)
}

/// The path of the script.
pub(crate) fn script() -> String {
    path(1)
}

/// The path of the icon.
pub(crate) fn icon() -> String {
    path(2)
}

fn path(at: usize) -> String {
    format!("/-/assets/{}", ASSETS[at].name)
}

/// `GET /-/assets/{name}`
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.bytes).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}

/// `GET /favicon.ico`: browsers ask for it whatever the page says.
pub(crate) async fn favicon() -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml")], ASSETS[2].bytes).into_response()
}
