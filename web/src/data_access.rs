//! Who may read the raw archive: asked by nginx for each file below `/data/`, which serves the files itself; and who may
//! open dashboards below `/kibana/` that ask nobody who they are.
//!
//! nginx passes the address asked for as `X-Original-URI`. Files of a repository are for who may see the repository, and
//! those of a thread for who may see the thread: a public repository may have private ones. Snapshots hold everything,
//! so they are for who may see everything; such dashboards can change everything too, so their keys must `operate`.

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use gharvest_model::{ItemId, RepositoryName, record::Visibility};
use percent_encoding::percent_decode_str;

use crate::{
    access::{Caller, Role, unauthorized},
    error::{ApiError, ApiResult},
    known::Known,
    requests::items,
    state::WebState,
};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A list of names that tells nothing private: the root, owners.
    Names,
    /// What was taken out of a repository's records, see [`deletions::show`](crate::requests::deletions::show).
    Receipts(RepositoryName),
    /// Something of a repository that is about no thread.
    Repository(RepositoryName),
    /// The record of a thread, or an image of it.
    Thread(RepositoryName, u64),
    /// A snapshot, or the list of them.
    Snapshots,
    /// Dashboards on an engine without security.
    Dashboards,
}

/// `GET /-/data-access`: 204 lets the caller pass.
pub(crate) async fn check(
    State(state): State<WebState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> ApiResult<StatusCode> {
    caller.require(Role::Read)?;
    let uri = headers.get("x-original-uri").and_then(|uri| uri.to_str().ok()).unwrap_or_default();
    let allowed = match asked(uri) {
        // nginx passes on a refusal, and makes a fault of its own of everything else.
        None => return Err(ApiError::forbidden("this is not served")),
        // Names of owners and of repositories are shown to who may see them all: a list cannot leave some out.
        Some(Asked::Names) => caller.sees_everything() || !any_private(&state).await?,
        Some(Asked::Snapshots) => caller.sees_everything(),
        Some(Asked::Dashboards) => caller.is(Role::Operate) && caller.sees_everything(),
        Some(Asked::Receipts(name)) => caller.is(Role::Operate) && may_read(&state, &caller, &name, None).await?,
        Some(Asked::Repository(name)) => may_read(&state, &caller, &name, None).await?,
        Some(Asked::Thread(name, number)) => may_read(&state, &caller, &name, Some(number)).await?,
    };
    // Browsers and `wget` bring a key only once they are asked for one.
    let brought_nothing = caller == Caller::public() && !headers.contains_key(header::AUTHORIZATION);
    match allowed {
        true => Ok(StatusCode::NO_CONTENT),
        false if brought_nothing => Err(unauthorized()),
        false => Err(ApiError::forbidden("this is not shown to you")),
    }
}

fn asked(uri: &str) -> Option<Asked> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8().ok()?;
    // nginx serves what such a path leads to, which is not what it names.
    if path.split('/').any(|part| part == "." || part == "..") {
        return None;
    }
    if path.starts_with("/kibana/") {
        return Some(Asked::Dashboards);
    }
    let mut parts = path.strip_prefix("/data/")?.split('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) | (Some("current"), _, None) => Some(Asked::Names),
        (Some("current"), Some(owner), Some(name)) => {
            let name = RepositoryName::new(owner, name).ok()?;
            match (parts.next(), parts.next()) {
                (Some("items"), Some(file)) => Some(Asked::Thread(name, file.split('.').next()?.parse().ok()?)),
                (Some("removals.jsonl"), _) => Some(Asked::Receipts(name)),
                (Some("attachments"), Some(number)) => Some(Asked::Thread(name, number.parse().ok()?)),
                _ => Some(Asked::Repository(name)),
            }
        }
        (Some("snapshots"), ..) => Some(Asked::Snapshots),
        _ => None,
    }
}

/// Whether a repository is private: one that is tracked, or one that was and is archived still.
pub(crate) async fn any_private(state: &WebState) -> ApiResult<bool> {
    Ok(state.standings().await?.values().any(|known| known.visibility() == Visibility::Private))
}

/// Whether the caller may read files of the repository that a name leads to, or of a thread of it. What is not known to
/// be public counts as private, and a name says nothing of whose it is: the repository may have another one now.
async fn may_read(state: &WebState, caller: &Caller, name: &RepositoryName, number: Option<u64>) -> ApiResult<bool> {
    let Some(id) = state.backends.archive.resolve(name).await? else { return Ok(caller.sees_everything()) };
    let known = Known::of(state, id).await?;
    if caller.sees_private(id, known.name()) {
        return Ok(true);
    }
    if known.tracked.is_none() || known.visibility() == Visibility::Private {
        return Ok(false);
    }
    match number {
        Some(number) => Ok(!items::is_private(state, ItemId { repository: id, number }).await?),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        let repository = |text: &str| Some(Asked::Repository(text.parse().unwrap()));
        let thread = |text: &str, number| Some(Asked::Thread(text.parse().unwrap(), number));
        for (uri, expected) in [
            ("/data/", Some(Asked::Names)),
            ("/data/current/", Some(Asked::Names)),
            ("/data/current/octo/", Some(Asked::Names)),
            ("/data/current/octo/things/items/1.json?x", thread("octo/things", 1)),
            ("/data/current/octo/things//items/%31.json.zst", thread("octo/things", 1)),
            ("/data/current/octo/things/items/1.json/", thread("octo/things", 1)),
            ("/data/current/octo/things/attachments/7/a.png", thread("octo/things", 7)),
            ("/data/current/octo/things/items/", repository("octo/things")),
            ("/data/current/octo/things/items/x.json", None),
            ("/data/current/octo/things/removals.jsonl?x", Some(Asked::Receipts("octo/things".parse().unwrap()))),
            ("/data/current/octo/things/%72emovals.jsonl/", Some(Asked::Receipts("octo/things".parse().unwrap()))),
            ("/data/current/octo/.github/repository.json", repository("octo/.github")),
            ("/data/snapshots/latest", Some(Asked::Snapshots)),
            ("/kibana/app/home?x", Some(Asked::Dashboards)),
            ("/kibana/../data/snapshots/latest", None),
            ("/data/staging/x", None),
            ("/data/inbox/x", None),
            ("/data/keys.json", None),
            ("/data/current/octo/%2e%2e/x", None),
            ("/data/current/octo/things/../secret/items/1.json", None),
            ("/data/current/octo/things/%2E%2e%2Fsecret/repository.json", None),
            ("/data/current/octo/things/items/1.json/../2.json", None),
            ("/data/snapshots/../current/octo/secret/", None),
            ("/data/current/octo/things/./repository.json", None),
            ("/data/current/../keys.json", None),
            ("/elsewhere", None),
        ] {
            assert_eq!(asked(uri), expected, "{uri}");
        }
    }
}
