//! Completions of the query being typed.

use gharvest_search::{
    Suggestion,
    query::{
        edit,
        suggest::{self, SuggestRequest},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::search::parse;
use crate::{access::Caller, error::ApiResult, state::WebState};

/// What was typed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SuggestParams {
    /// The query up to the cursor.
    #[serde(default)]
    pub q: String,
}

/// Completions, best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestAnswer {
    /// At most ten.
    pub suggestions: Vec<SuggestItem>,
}

/// One completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuggestItem {
    /// `qualifier`, `label`, `author`, `assignee`, `milestone`, `repository` or `item`.
    pub kind: String,
    /// What is offered, for people.
    pub value: String,
    /// What explains it: a count, an item's title.
    pub detail: Option<String>,
    /// The whole query once it is taken; none for items.
    pub query: Option<String>,
    /// The path to go to, for items.
    pub url: Option<String>,
}

/// The most completions offered.
const MOST: usize = 10;

/// Completes the word at the end of a query: the language's own words first, then values with their counts.
pub async fn suggest(state: &WebState, caller: &Caller, params: &SuggestParams) -> ApiResult<SuggestAnswer> {
    // A query too long is refused here as well as in a search.
    parse(state, &params.q)?;
    let request = suggest::at_end(&params.q);
    let mut offered: Vec<SuggestItem> = suggest::known(&request)
        .into_iter()
        .filter(|_| request.qualifier.is_some() || !request.prefix.is_empty())
        .map(|known| SuggestItem {
            kind: "qualifier".to_owned(),
            query: Some(completed(&params.q, &known.text)),
            value: known.text,
            detail: Some(known.help.to_owned()),
            url: None,
        })
        .collect();
    offered.truncate(MOST);
    if offered.len() < MOST {
        let access = caller.search_access(state).await?;
        let found = state.backends.search.suggest(&request, &access, MOST - offered.len()).await?;
        offered.extend(found.into_iter().map(|found| offer(&params.q, &request, found)));
    }
    Ok(SuggestAnswer { suggestions: offered })
}

/// A qualifier's name waits for its value, so no space follows it.
fn completed(text: &str, completion: &str) -> String {
    let completed = suggest::complete(text, completion);
    if completion.ends_with(':') { completed.trim_end().to_owned() } else { completed }
}

fn offer(text: &str, request: &SuggestRequest, found: Suggestion) -> SuggestItem {
    if let Some(item) = found.item {
        return SuggestItem {
            kind: found.kind,
            url: Some(crate::links::item(&item.repository, gharvest_model::Kind::Issue, item.number)),
            value: item.title,
            detail: Some(format!("{}#{}", item.repository, item.number)),
            query: None,
        };
    }
    let qualifier = match (request.qualifier.as_deref(), found.kind.as_str()) {
        (Some(qualifier), _) => qualifier,
        (None, "repository") => "repo",
        (None, kind) => kind,
    };
    let spelled = edit::with("", qualifier, &found.value);
    SuggestItem {
        kind: found.kind,
        query: Some(suggest::complete(text, &spelled)),
        value: found.value,
        detail: found.count.map(crate::pages::count),
        url: None,
    }
}
