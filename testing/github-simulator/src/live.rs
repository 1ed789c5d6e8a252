//! A project that goes on living: plausible changes, one after the other, for people to watch.

use std::time::Duration;

use gharvest_model::{Kind, RepositoryName};

use crate::{
    change::Change,
    control::Control,
    random::{pick, stream},
    text,
};

/// Makes changes until the task is aborted.
pub(crate) async fn run(control: Control, per_minute: f64) {
    let seed = control.shared.state.lock().seed;
    let mut random = stream(seed, &[100]);
    let names = control.repositories();
    loop {
        let mean = 60.0 / per_minute.max(0.01);
        tokio::time::sleep(Duration::from_secs_f64(mean * (0.5 + random.f64()))).await;
        let name = pick(&mut random, &names);
        let (by, change) = next(&control, &name, &mut random);
        if let Err(error) = control.change_by(&name, &by, change) {
            // A closed item closed again and the like: the next change will do.
            tracing::debug!(%error, "a made-up change did not fit");
        }
    }
}

/// Something that could happen next, and who does it. Mostly on recent items.
fn next(control: &Control, name: &RepositoryName, random: &mut fastrand::Rng) -> (String, Change) {
    let state = control.shared.state.lock();
    let someone = if random.bool() { state.people.member(random) } else { state.people.anybody(random) };
    let by = state.people.get(someone).map_or_else(|| "ghost".to_owned(), |user| user.login.clone());
    let other = state.people.member(random);
    let other = state.people.get(other).map_or_else(|| "ghost".to_owned(), |user| user.login.clone());
    let found = state.by_name(name).and_then(|id| state.repositories.get(&id));
    let recent: Vec<(u64, Kind)> = found.map_or_else(Vec::new, |found| {
        found.summaries.iter().rev().take(60).map(|(number, summary)| (*number, summary.kind)).collect()
    });
    drop(state);
    let title = text::title(random, false);
    if recent.is_empty() || random.u8(..12) == 0 {
        let body = Some(text::issue_body(random, 1));
        return (by, Change::OpenIssue { title, body });
    }
    let (number, kind) = pick(random, &recent);
    let label = pick(random, text::LABELS).0.to_owned();
    let body = text::comment(random, &other);
    let change = match (random.u8(..24), kind) {
        (0, _) => {
            Change::OpenPull { title: text::title(random, true), body: Some(text::pull_body(random, Some(number))) }
        }
        (1 | 2, _) => Change::Label { number, label },
        (3, _) => Change::Unlabel { number, label },
        (4 | 5, Kind::Issue) => Change::Close { number, reason: Some("completed".to_owned()) },
        (4, Kind::PullRequest) => Change::Merge { number },
        (5, Kind::PullRequest) => Change::Push { number, message: text::commit_message(random) },
        (6, _) => Change::Reopen { number },
        (7, _) => Change::EditTitle { number, title },
        (8, _) => Change::Assign { number, login: other },
        (9, _) => Change::Milestone { number, title: pick(random, text::MILESTONES).to_owned() },
        (10 | 11, Kind::PullRequest) => {
            let state = pick(random, &["approved", "commented", "changes_requested"]).to_owned();
            Change::Review { number, state, body }
        }
        (12 | 13, Kind::PullRequest) => Change::ReviewComment { number, body },
        (14, _) => Change::EditBody { number, body: text::issue_body(random, number) },
        (15, _) => Change::React { number },
        (16, _) => Change::CrossReference { number, from: recent[0].0, of: None },
        _ => Change::Comment { number, body },
    };
    (by, change)
}
