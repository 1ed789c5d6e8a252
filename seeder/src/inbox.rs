//! The inbox: deliveries that waited for the queue, and facts whose trigger may have been lost.
//!
//! A look reads the names of what waits and the deliveries, never a fact: however many there are, one that waits for its
//! download costs a question to the queue every ten minutes.
//!
//! Metrics: `gharvest_inbox_entries` and `gharvest_inbox_limit`, how many wait and may; `gharvest_inbox_unreadable`,
//! those that cannot be got rid of, because they or their jobs are damaged.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use gharvest_archive::{Archive, ErrorKind};
use gharvest_model::{
    ItemId, Lane, QueueName, RepositoryId, Subject,
    ledger::{Entry, NumberState},
};
use gharvest_queue::{ErrorKind as QueueErrorKind, QueueAdmin, Timing, Trigger, check};
use gharvest_webhook_receiver::SPOOL;
use jiff::Timestamp;
use metrics::gauge;

use crate::{Failure, schedule::later};

/// Facts that waited for so long may get a trigger of their own: the receiver may have died between the two.
const OVERDUE: Duration = Duration::from_secs(300);
/// And again after this, while they wait: the queue may have lost it.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Triggers pushed in one step.
const STEP: usize = 500;

/// Looks at the inbox, and remembers what it saw.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The items with facts at the last look, and when to see after each.
    waiting: HashMap<ItemId, Timestamp>,
}

impl Inbox {
    /// Pushes what waits in the inbox, and drops what is of repositories that are neither tracked nor archived. Says how
    /// many entries caused a push.
    ///
    /// A delivery that waited for the queue is removed once it is pushed; facts stay until a download merged them.
    ///
    /// # Errors
    /// When archive or queue do not answer; and after all others were pushed, when there are some that can never be.
    pub async fn look(&mut self, archive: &Archive, queue: &dyn QueueAdmin, now: Timestamp) -> Result<u64, Failure> {
        let mut names = archive.inbox_names().await?;
        gauge!("gharvest_inbox_entries").set(names.count() as f64);
        gauge!("gharvest_inbox_limit").set(archive.inbox_limit() as f64);
        // Read after the inbox: whatever waits there was tracked before it came.
        let known = known(archive).await?;
        let (facts, forgotten): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut names.facts).into_iter().partition(|(item, _)| known.contains(&item.repository));
        for repository in forgotten.keys().map(|item| item.repository).collect::<BTreeSet<_>>() {
            tracing::info!(repo.id = %repository, "Facts of a repository that is not mirrored any more leave the inbox");
            archive.purge_inbox(repository).await?;
        }
        let mut stuck = Vec::new();
        let deliveries = push_deliveries(archive, queue, &names.others, &known, &mut stuck).await;
        let overdue = self.push_overdue(archive, queue, facts.into_keys().collect(), now, &mut stuck).await?;
        let pushed = overdue + deliveries?;
        gauge!("gharvest_inbox_unreadable").set(stuck.len() as f64);
        let Some(first) = stuck.first() else { return Ok(pushed) };
        let count = stuck.len();
        Err(Failure::Partly(format!(
            "{count} entries of the inbox cannot be read or pushed, mend or remove them; the first: {first}"
        )))
    }

    /// Pushes downloads of items whose facts have waited for long, where nobody else sees to them: what has a job is the
    /// queue's, also if that is buried, and what cannot be fetched is asked for again by [`gaps`](crate::gaps), once a day.
    async fn push_overdue(
        &mut self,
        archive: &Archive,
        queue: &dyn QueueAdmin,
        items: BTreeSet<ItemId>,
        now: Timestamp,
        stuck: &mut Vec<String>,
    ) -> Result<u64, Failure> {
        self.waiting.retain(|item, _| items.contains(item));
        let mut overdue = Vec::new();
        for item in items {
            let due = self.waiting.entry(item).or_insert_with(|| later(now, OVERDUE));
            if *due > now {
                continue;
            }
            let entry = archive.ledger(item.repository).await?.get(item.number);
            let subject = Subject::Item(item);
            if !is_in_doubt(entry) {
                match queue.job(QueueName::Download, &subject).await {
                    Ok(None) => overdue.push(trigger(subject)),
                    Ok(Some(_)) => {}
                    Err(error) if error.kind() == QueueErrorKind::Corrupt => stuck.push(format!("{item}: {error}")),
                    Err(error) => return Err(error.into()),
                }
            }
            *due = later(now, AGAIN_AFTER);
        }
        for step in overdue.chunks(STEP) {
            queue.push(step, None).await?;
        }
        Ok(overdue.len() as u64)
    }
}

/// The repositories that are tracked or archived.
async fn known(archive: &Archive) -> Result<BTreeSet<RepositoryId>, Failure> {
    let tracked = archive.tracking().await?.into_iter().map(|tracked| tracked.id);
    Ok(tracked.chain(archive.repositories().await?).collect())
}

/// Whether a number failed, or is suspected to be gone.
fn is_in_doubt(entry: Entry) -> bool {
    match entry.state {
        NumberState::Failed => true,
        NumberState::Unknown => entry.verified_at.is_some(),
        _ => false,
    }
}

fn trigger(subject: Subject) -> Trigger {
    Trigger {
        queue: QueueName::Download,
        subject,
        lane: Lane::Webhook,
        timing: Timing::WhenFree,
        reason: "inbox".to_owned(),
    }
}

/// Pushes deliveries that waited for the queue. Says how many. One that cannot be read, or that no queue takes, is named
/// among those that are stuck, and keeps nobody behind it waiting.
async fn push_deliveries(
    archive: &Archive,
    queue: &dyn QueueAdmin,
    deliveries: &[String],
    known: &BTreeSet<RepositoryId>,
    stuck: &mut Vec<String>,
) -> Result<u64, Failure> {
    let mut pushed = 0;
    for delivery in deliveries {
        let entry = match archive.inbox_other(delivery).await {
            Ok(Some(entry)) => entry,
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                stuck.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut triggers: Vec<Trigger> = match serde_json::from_value(entry.triggers) {
            Ok(triggers) => triggers,
            // Written by a newer version: it is left for that one, and said.
            Err(error) => {
                stuck.push(format!("{delivery}: {error}"));
                continue;
            }
        };
        triggers.retain(|trigger| trigger.subject.repository().is_none_or(|id| known.contains(&id)));
        // Under the delivery's own id: GitHub may have sent it again meanwhile, or the queue took it and could not say so.
        let id = delivery.strip_suffix(SPOOL).unwrap_or(delivery);
        if let Err(error) = check::triggers(&triggers, Some(id)) {
            stuck.push(format!("{delivery}: {error}"));
            continue;
        }
        match queue.push(&triggers, Some(id)).await {
            Ok(_) => archive.remove_inbox(delivery).await?,
            // One of its jobs is damaged. Whatever else the queue says, it says to all.
            Err(error) if error.kind() == QueueErrorKind::Corrupt => {
                stuck.push(format!("{delivery}: {error}"));
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        pushed += 1;
    }
    Ok(pushed)
}
