//! What a visit that found no change still brings: ETags, and the form that REST gives where the stored part came
//! another way.
//!
//! A thread that came by GraphQL has no ETags, and lacks what [`crate::lossy`] lists. The next visit by REST says the
//! same, so it makes no revision; but if what it brought were dropped, each visit after it would pay in full again.

use serde_json::Value;

use crate::record::{Origin, Record};

/// What a stored record took from a visit, the most of all parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// Nothing: it need not be written.
    Nothing,
    /// ETags. What the record says stays as it is to the letter.
    Etags,
    /// A part as REST gives it, in place of one that came another way: what is made of the record must be made anew.
    Form,
}

/// Takes into a stored record what a visit brings beyond it. Both must say the same ([`crate::change::same_content`]).
/// Revision and times stay as they are.
///
/// A part that came by REST already keeps its value and takes the ETag alone: what the ETag stands for differs from the
/// value by nothing that counts.
pub fn fill(stored: &mut Record, visit: &mut Record) -> Gain {
    PARTS.iter().map(|part| part.fill(stored, visit)).max().unwrap_or(Gain::Nothing)
}

/// A part of a record that is asked for by itself.
struct Part {
    /// Its name, also among the ETags.
    name: &'static str,
    origin: fn(&mut Record) -> &mut Option<Origin>,
    swap: fn(&mut Record, &mut Record),
}

const PARTS: [Part; 4] = [
    Part {
        name: "issue",
        origin: |record| &mut record.origin.issue,
        swap: |stored, visit| std::mem::swap(&mut stored.issue, &mut visit.issue),
    },
    Part {
        name: "timeline",
        origin: |record| &mut record.origin.timeline,
        swap: |stored, visit| std::mem::swap(&mut stored.timeline, &mut visit.timeline),
    },
    Part {
        name: "pull",
        origin: |record| &mut record.origin.pull,
        swap: |stored, visit| std::mem::swap(&mut stored.pull, &mut visit.pull),
    },
    Part {
        name: "review_comments",
        origin: |record| &mut record.origin.review_comments,
        swap: |stored, visit| std::mem::swap(&mut stored.review_comments, &mut visit.review_comments),
    },
];

impl Part {
    fn fill(&self, stored: &mut Record, visit: &mut Record) -> Gain {
        let came_by = *(self.origin)(visit);
        if came_by != Some(Origin::Rest) {
            return Gain::Nothing;
        }
        let etag: Option<Value> = visit.etags.get(self.name).cloned();
        if *(self.origin)(stored) != came_by {
            *(self.origin)(stored) = came_by;
            (self.swap)(stored, visit);
            // An ETag belongs to the value that it came with.
            stored.etags.shift_remove(self.name);
            stored.etags.extend(etag.map(|etag| (self.name.to_owned(), etag)));
            return Gain::Form;
        }
        // A visit that knew the part from a list brings no ETag: the stored one is as good as before.
        let Some(etag) = etag.filter(|etag| stored.etags.get(self.name) != Some(etag)) else { return Gain::Nothing };
        stored.etags.insert(self.name.to_owned(), etag);
        Gain::Etags
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        ids::{Kind, RepositoryId},
        record::{Origins, RecordRepository},
    };

    fn record(timeline_by: Origin, label: &str, etag: Option<&str>) -> Record {
        let repository = RecordRepository { id: RepositoryId(7), full_name: "a/b".parse().unwrap() };
        let mut record = Record::new(repository, 3, Kind::Issue, Timestamp::UNIX_EPOCH);
        let rest = Some(Origin::Rest);
        record.origin = Origins { issue: rest, timeline: Some(timeline_by), ..Origins::default() };
        record.issue = Some(json!({"title": "t"}));
        record.timeline = vec![json!({"event": "labeled", "label": {"name": label}})];
        record.etags.extend(etag.map(|etag| ("timeline".to_owned(), json!(etag))));
        record
    }

    #[test]
    fn what_came_by_graphql_takes_the_form_and_the_etags_of_rest_and_keeps_others() {
        let mut stored = record(Origin::Graphql, "now", None);
        stored.etags.insert("issue".to_owned(), json!("y"));
        let visit = record(Origin::Rest, "then", Some("x"));
        assert_eq!(fill(&mut stored, &mut visit.clone()), Gain::Form);
        assert_eq!((&stored.timeline, &stored.origin), (&visit.timeline, &visit.origin));
        assert_eq!(serde_json::to_value(&stored.etags).unwrap(), json!({"issue": "y", "timeline": "x"}));
        assert_eq!(fill(&mut stored, &mut visit.clone()), Gain::Nothing, "the next one brings nothing");
    }

    #[test]
    fn what_came_by_rest_takes_nothing_but_a_new_etag() {
        let mut stored = record(Origin::Rest, "one", Some("x"));
        assert_eq!(fill(&mut stored, &mut record(Origin::Rest, "other", Some("y"))), Gain::Etags);
        assert_eq!(stored, record(Origin::Rest, "one", Some("y")));
        // From a list, or of several pages.
        assert_eq!(fill(&mut stored, &mut record(Origin::Rest, "other", None)), Gain::Nothing);
        assert_eq!(stored, record(Origin::Rest, "one", Some("y")), "the ETag is still that of the part");
    }

    #[test]
    fn a_lesser_form_takes_no_place() {
        let rest = record(Origin::Rest, "then", Some("x"));
        for origin in [Origin::Graphql, Origin::Import] {
            let mut stored = rest.clone();
            assert_eq!(fill(&mut stored, &mut record(origin, "now", None)), Gain::Nothing);
            assert_eq!(stored, rest);
        }
    }
}
