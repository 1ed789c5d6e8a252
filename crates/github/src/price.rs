//! What it costs to look at archived threads once more.

use gharvest_model::{Kind, Record};
use serde_json::Value;

use crate::{Client, PAGE, Purpose, requests_for};

/// Calls and points by GraphQL for so many threads together that are archived already: a request a batch, another for
/// their details, and a point for each of these. None for none.
pub fn cost_again(threads: u64) -> u64 {
    if threads == 0 { 0 } else { 2 * (requests_for(threads) + 1) }
}

impl Client {
    /// Calls by REST for a thread as its record knows it, while nothing changed. A part with an ETag is answered by 304,
    /// which is free if the ETag is ([`Client::is_free`]); a list of several pages has none.
    pub fn calls_again<E>(&self, record: &Record<E>, purpose: Purpose) -> u64 {
        calls(record, |etag| self.is_free(etag, purpose), self.can_graphql())
    }
}

/// All pages of a list but the last are asked for once more by ETags just got, which `has_token` makes free.
fn calls<E>(record: &Record<E>, is_free: impl Fn(&str) -> bool, has_token: bool) -> u64 {
    let part = |name: &str, entries: usize| {
        let pages = entries.div_ceil(PAGE).max(1) as u64;
        let again = if has_token { 0 } else { pages - 1 };
        let is_known = record.etags.get(name).and_then(Value::as_str).is_some_and(&is_free);
        if is_known { 0 } else { pages + again }
    };
    let mut sum = part("issue", 1) + part("timeline", record.timeline.len());
    if record.kind == Kind::PullRequest {
        sum += part("pull", 1);
        // How many there are stands in the pull request.
        if !record.review_comments.is_empty() {
            sum += part("review_comments", record.review_comments.len());
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use gharvest_model::{RepositoryId, record::RecordRepository};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_price_of_an_item_is_that_of_what_its_record_has_no_etag_for() {
        let record = |kind, etags: &[&str], entries: usize, comments: usize| {
            let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
            let mut record: Record<Value> = Record::new(repository, 3, kind, Timestamp::UNIX_EPOCH);
            record.etags = etags.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
            record.timeline = vec![Value::Null; entries];
            record.review_comments = vec![Value::Null; comments];
            record
        };
        let all = ["issue", "timeline", "pull", "review_comments"];
        let known = record(Kind::PullRequest, &all, 250, 7);
        assert_eq!(calls(&known, |_| false, true), 6, "ETags of a token that changed");
        for (what, record, with_token, without) in [
            ("an issue that came by GraphQL", record(Kind::Issue, &[], 3, 0), 2, 2),
            ("an issue without a timeline", record(Kind::Issue, &[], 0, 0), 2, 2),
            ("a pull request", record(Kind::PullRequest, &[], 3, 0), 3, 3),
            ("one with review comments", record(Kind::PullRequest, &[], 3, 7), 4, 4),
            ("what REST gave before", record(Kind::PullRequest, &all, 3, 7), 0, 4),
            ("a long timeline", record(Kind::Issue, &["issue"], 250, 0), 3, 6),
        ] {
            let prices = (calls(&record, |etag| etag == "x", true), calls(&record, |_| false, false));
            assert_eq!(prices, (with_token, without), "{what}");
        }
    }
}
