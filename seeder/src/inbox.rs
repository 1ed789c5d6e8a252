//! The inbox: deliveries that waited for the queue, and facts whose trigger may have been lost.
//!
//! Metrics: `gharvest_inbox_unreadable`, entries that are damaged.

use std::time::Duration;

use futures::StreamExt;
use gharvest_archive::{Archive, ErrorKind, InboxEntry};
use gharvest_model::{Lane, QueueName, Subject};
use gharvest_queue::{Queue, Timing, Trigger};
use gharvest_webhook_receiver::SPOOL;
use jiff::Timestamp;
use metrics::gauge;
use serde_json::Value;

use crate::{Failure, schedule::earlier};

/// A fact older than this gets a trigger of its own: the receiver may have died between the two.
const OVERDUE: Duration = Duration::from_secs(300);

/// Pushes what waits in the inbox. Says how many entries caused a push.
///
/// A delivery that waited for the queue is removed once it is pushed; facts stay until a download merged them.
///
/// # Errors
/// When archive or queue do not answer; and after all others were pushed, when there are entries that cannot be read.
pub async fn sweep(archive: &Archive, queue: &dyn Queue, now: Timestamp) -> Result<u64, Failure> {
    let mut entries = archive.inbox_all();
    let (mut pushed, mut unreadable) = (0, Vec::new());
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(entry) => pushed += u64::from(push(archive, queue, &entry, now).await?),
            Err(error) if error.kind() == ErrorKind::Corrupt => unreadable.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    gauge!("gharvest_inbox_unreadable").set(unreadable.len() as f64);
    let Some(first) = unreadable.first() else { return Ok(pushed) };
    let count = unreadable.len();
    Err(Failure::Partly(format!(
        "{count} entries of the inbox cannot be read, restore or remove them; the first: {first}"
    )))
}

async fn push(archive: &Archive, queue: &dyn Queue, entry: &InboxEntry, now: Timestamp) -> Result<bool, Failure> {
    let delivery = &entry.fact.delivery;
    let waiting = !entry.triggers.is_null();
    if waiting {
        match serde_json::from_value::<Vec<Trigger>>(entry.triggers.clone()) {
            // Under the delivery's own id: GitHub may have sent it again meanwhile, or the queue took it and could not say so.
            Ok(triggers) => {
                let id = delivery.strip_suffix(SPOOL).unwrap_or(delivery);
                queue.push(&triggers, Some(id)).await?;
            }
            // Written by a newer version: it is left for that one, and said.
            Err(error) => {
                tracing::error!(delivery, error = %error, "Delivery in the inbox cannot be read");
                return Ok(false);
            }
        }
        match entry.item {
            Some(_) => archive.put_inbox(&InboxEntry { triggers: Value::Null, ..entry.clone() }).await?,
            None => archive.remove_inbox(delivery).await?,
        }
        return Ok(true);
    }
    let Some(item) = entry.item.filter(|_| entry.fact.received_at <= earlier(now, OVERDUE)) else {
        return Ok(false);
    };
    let trigger = Trigger {
        queue: QueueName::Download,
        subject: Subject::Item(item),
        lane: Lane::Webhook,
        timing: Timing::WhenFree,
        reason: "inbox".to_owned(),
    };
    queue.push(&[trigger], None).await?;
    Ok(true)
}
