//! What is happening now.

use gharvest_model::{Kind, record::Visibility};
use gharvest_state::Published;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    access::Caller,
    error::{ApiError, ApiResult},
    known::Standings,
    state::WebState,
};

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecentParams {
    /// At most this many, 1 to 100; 20 if not said.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<usize>,
}

/// Recent changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecentAnswer {
    /// Latest first.
    pub events: Vec<Change>,
}

/// One change that became searchable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Its place in the history: strictly increasing.
    pub sequence: u64,
    /// `owner/name`.
    pub repository: String,
    /// The item's number.
    pub number: u64,
    /// `issue` or `pull_request`.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// The title now.
    pub title: String,
    /// `open`, `closed`, `merged`, or the tombstone's state.
    pub state: String,
    /// The revision that is searchable now.
    pub revision: u32,
    /// When it became searchable.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The path of its page.
    pub url: String,
}

impl From<Published> for Change {
    fn from(published: Published) -> Self {
        let Published { sequence, event } = published;
        let repository = event.repository.to_string();
        Self {
            sequence,
            url: crate::links::item(&repository, event.kind, event.item.number),
            repository,
            number: event.item.number,
            kind: event.kind,
            title: event.title,
            state: event.state,
            revision: event.revision.0,
            at: event.at,
        }
    }
}

/// Whether the caller may be told of an event: as things stood when it was published, and as they stand now, by the
/// name that its repository has now. Of a repository that was forgotten only who sees everything.
pub(crate) fn may_hear(caller: &Caller, standings: &Standings, published: &Published) -> bool {
    let (event, id) = (&published.event, published.event.item.repository);
    match standings.get(&id) {
        Some(now) if event.visibility == Visibility::Public => now.is_seen_by(caller, id),
        Some(now) => caller.sees_private(id, now.name()),
        None => caller.sees_everything(),
    }
}

/// The latest changes, latest first.
pub async fn recent(state: &WebState, caller: &Caller, params: &RecentParams) -> ApiResult<RecentAnswer> {
    let limit = params.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(ApiError::invalid("`limit` is 1 to 100"));
    }
    // More than asked for, because not all of them may be for this caller.
    let mut heard = state.backends.state.history(0, limit * 5).await?;
    let standings = state.standings().await?;
    heard.retain(|published| may_hear(caller, &standings, published));
    heard.sort_by_key(|published| std::cmp::Reverse(published.sequence));
    heard.truncate(limit);
    Ok(RecentAnswer { events: heard.into_iter().map(Change::from).collect() })
}
