//! Images of comments that the archive keeps, to whoever may see their thread.

use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gharvest_archive::image_type;
use serde::Deserialize;

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    extract::InPath,
    requests::items::{self, ItemPath},
    state::WebState,
};

/// Nothing runs in an image that is opened by itself.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; sandbox";

/// Which image.
#[derive(Debug, Deserialize)]
pub(crate) struct AttachmentPath {
    owner: String,
    name: String,
    number: u64,
    attachment: String,
}

/// `GET /-/{owner}/{name}/{number}/attachments/{attachment}`
pub(crate) async fn serve(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    InPath(path): InPath<AttachmentPath>,
) -> ApiResult<Response> {
    let AttachmentPath { owner, name, number, attachment } = path;
    let stored = items::record(&state, &caller, &ItemPath { owner, name, number }).await?;
    let missing = || ApiError::not_found("this attachment");
    let archive = &state.backends.archive;
    let names = archive.attachments(stored.id).await?;
    let name = names.get(&attachment).ok_or_else(missing)?;
    let bytes = archive.attachment(stored.id, name).await?.ok_or_else(missing)?;
    // Looked at again: the archive may be older than this rule, or somebody else's.
    let content_type = image_type(&bytes).ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "private, max-age=86400"),
    ];
    Ok((headers, bytes).into_response())
}
