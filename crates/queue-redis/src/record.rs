//! Members and records as the scripts write them.

use gharvest_model::{Lane, QueueName, RepositoryId};
use gharvest_queue::{
    JobState, JobView,
    clock::timestamp,
    key::{Key, Name},
};

/// A repository's id padded so that bytes order as numbers.
pub(crate) fn padded(repository: u64) -> String {
    format!("{repository:016}")
}

/// A key as one text whose bytes order as keys do.
pub(crate) fn member(key: &Key) -> String {
    match &key.name {
        Name::Number(number) => format!("{:016}#{number:016}", key.repository),
        Name::Text(text) => format!("{:016}/{text}", key.repository),
    }
}

/// The key of a member; none if it is not one.
pub(crate) fn key(member: &str) -> Option<Key> {
    let repository = member.get(..16)?.parse().ok()?;
    let rest = member.get(17..)?;
    let name = match member.as_bytes().get(16)? {
        b'#' => Name::Number(rest.parse().ok()?),
        b'/' => Name::Text(rest.to_owned()),
        _ => return None,
    };
    Some(Key { repository, name })
}

/// The repository of a padded id.
pub(crate) fn repository(padded: &str) -> Option<RepositoryId> {
    padded.parse().ok().map(RepositoryId)
}

/// The letter of a state.
pub(crate) fn letter(state: JobState) -> &'static str {
    match state {
        JobState::Delayed => "D",
        JobState::Ready => "R",
        JobState::Leased => "L",
        JobState::Buried => "X",
    }
}

/// The job of a stored record; none if it is not one.
pub(crate) fn view(queue: QueueName, member: &str, packed: &str, failure: &str, lease_end: &str) -> Option<JobView> {
    let fields: Vec<&str> = packed.split('|').collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    let time = |text: &str| text.parse().ok().map(timestamp);
    let state = match field(0) {
        "D" => JobState::Delayed,
        "R" => JobState::Ready,
        "L" => JobState::Leased,
        "X" => JobState::Buried,
        _ => return None,
    };
    let lane = field(1).parse().ok().and_then(|index: usize| Lane::ALL.get(index).copied())?;
    Some(JobView {
        queue,
        subject: key(member)?.subject(),
        state,
        lane,
        attempts: field(5).parse().unwrap_or(0),
        dirty: !field(10).is_empty(),
        at: match state {
            JobState::Delayed | JobState::Buried => time(field(8)),
            JobState::Leased => time(lease_end),
            JobState::Ready => None,
        },
        first_at: time(field(2)),
        last_at: time(field(3)),
        reason: field(11).contains('w').then(|| failure.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use gharvest_model::Subject;

    use super::*;

    #[test]
    fn members_order_as_keys_do_and_read_back() {
        let subjects = ["~text", "9#10", "9#9", "10#1", "9/labels", "9/a"].map(|text| text.parse::<Subject>().unwrap());
        let mut keys: Vec<Key> = subjects.iter().map(|subject| Key::new("test", subject).unwrap()).collect();
        keys.sort();
        let members: Vec<String> = keys.iter().map(member).collect();
        assert!(members.is_sorted(), "{members:?}");
        assert!(members.iter().zip(&keys).all(|(member, expected)| key(member).as_ref() == Some(expected)));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for packed in ["", "Z|1", "R|9", "R"] {
            assert!(
                view(QueueName::Download, "0000000000000001#0000000000000001", packed, "", "").is_none(),
                "{packed}"
            );
        }
        for text in ["", "1#1", "0000000000000001", "000000000000000ä#1"] {
            assert!(key(text).is_none(), "{text}");
        }
    }
}
