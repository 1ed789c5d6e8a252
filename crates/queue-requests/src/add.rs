//! Adding jobs.

use std::{collections::BTreeSet, ops::RangeInclusive};

use futures::TryStreamExt;
use gharvest_model::{ItemId, Lane, QueueName, RepositoryId, Subject, job::part, ledger::Ledger, progress::runs};
use gharvest_queue::{Pushed, Timing, Trigger};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{InPieces, Jobs, LaneWord, Named, Problem, QueueWord, Request, Route, pieces::Turn};

/// The most subjects of one request.
const MOST_SUBJECTS: usize = 1000;

/// Numbers of a range that are pushed in one step.
const STEP: u64 = 10_000;

/// Jobs to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// What they are about: `owner/name#67`, its GitHub URL, `owner/name/labels`, `12345#67`; at most 1000.
    pub subjects: Vec<String>,
    /// How urgent; `manual` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LaneWord>)]
    pub lane: Option<Lane>,
}

/// What became of triggers, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddAnswer {
    /// `new`, `merged`, `dirty`, `revived` or `duplicate`.
    #[schema(value_type = Vec<String>)]
    pub pushed: Vec<Pushed>,
}

impl Request for AddParams {
    type Answer = AddAnswer;

    fn names(&self) -> Named<'_> {
        Named::subjects(&self.subjects)
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<AddAnswer, Problem> {
        if self.subjects.len() > MOST_SUBJECTS {
            return Err(Problem::Invalid(format!("at most {MOST_SUBJECTS} subjects at once")));
        }
        let mut triggers = Vec::with_capacity(self.subjects.len());
        for text in &self.subjects {
            triggers.push(trigger(self.queue, jobs.subject(text).await?, self.lane.unwrap_or(Lane::Manual)));
        }
        let repositories = triggers.iter().filter_map(|trigger| trigger.subject.repository());
        for id in repositories.collect::<BTreeSet<_>>() {
            jobs.check_known(id).await?;
        }
        Ok(AddAnswer { pushed: jobs.queue.push(&triggers, None).await? })
    }
}

fn trigger(queue: QueueName, subject: Subject, lane: Lane) -> Trigger {
    Trigger { queue, subject, lane, timing: Timing::Now, reason: "operator".to_owned() }
}

/// A job for every number of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeParams {
    /// Which queue.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// `owner/name` or the numeric id.
    pub repository: String,
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// How urgent; `backfill` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LaneWord>)]
    pub lane: Option<Lane>,
}

/// What became of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeAnswer {
    /// Jobs that were made.
    pub new: u64,
    /// Jobs that were there already.
    pub merged: u64,
    /// There is more of the range: the number to give as `from` in the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The repository to add jobs of.
async fn known(jobs: &Jobs, text: &str) -> Result<RepositoryId, Problem> {
    let id = jobs.repository(text).await?;
    jobs.check_known(id).await?;
    Ok(id)
}

/// Refuses what is no range of numbers.
pub(crate) fn check_range(from: u64, to: u64) -> Result<(), Problem> {
    if from == 0 || from > to || to > Ledger::LIMIT {
        return Err(Problem::Invalid(format!(
            "{from}..{to} is no range of numbers: expected two from 1 to {}, the first not greater, as in `1 91234`",
            Ledger::LIMIT
        )));
    }
    Ok(())
}

impl Request for RangeParams {
    type Answer = RangeAnswer;

    fn names(&self) -> Named<'_> {
        Named::repository(Some(&self.repository))
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/range")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<RangeAnswer, Problem> {
        check_range(self.from, self.to)?;
        let id = known(jobs, &self.repository).await?;
        let lane = self.lane.unwrap_or(Lane::Backfill);
        let (mut answer, turn) = (RangeAnswer { new: 0, merged: 0, next: None }, Turn::begin(jobs));
        for step in steps(self.from..=self.to) {
            let last = *step.end();
            let pushed = jobs.queue.push_range(self.queue, id, step, lane).await?;
            answer.new += pushed.new;
            answer.merged += pushed.merged;
            if last < self.to && turn.is_over() {
                answer.next = Some(last + 1);
                break;
            }
        }
        Ok(answer)
    }
}

impl InPieces for RangeParams {
    fn rest(&self, answer: &RangeAnswer) -> Option<Self> {
        answer.next.map(|from| Self { from, ..self.clone() })
    }

    fn join(answer: &mut RangeAnswer, next: RangeAnswer) {
        answer.new += next.new;
        answer.merged += next.merged;
        answer.next = next.next;
    }
}

/// A range in pieces that are pushed quickly.
fn steps(range: RangeInclusive<u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
    let last = *range.end();
    range.step_by(STEP as usize).map(move |first| first..=last.min(first + STEP - 1))
}

/// A job for everything that is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddAllParams {
    /// Only `index`: what is to be downloaded again is said with a range.
    #[schema(value_type = QueueWord)]
    pub queue: QueueName,
    /// The `next` of an earlier answer, to go on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What became of it, by repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddAllAnswer {
    /// In the order of their ids.
    pub repositories: Vec<AddedAll>,
    /// There is more to do: what to give as `after` in the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The jobs of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddedAll {
    /// `owner/name`.
    pub repository: String,
    /// Jobs that were made for items.
    pub jobs: u64,
}

impl Request for AddAllParams {
    type Answer = AddAllAnswer;

    fn names(&self) -> Named<'_> {
        Named::default()
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/all")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<AddAllAnswer, Problem> {
        if self.queue != QueueName::Index {
            let message = "everything can be added to the index queue only: what is to be downloaded again is said with \
                           a range, as in `queue-cli add-range download mozilla/web-bugs 1 91234`";
            return Err(Problem::Invalid(message.to_owned()));
        }
        let repositories = jobs.archive.repositories().await?;
        let after = self.after.as_deref().map(place).transpose()?;
        let mut answer = AddAllAnswer { repositories: Vec::new(), next: None };
        let turn = Turn::begin(jobs);
        for id in repositories.into_iter().filter(|id| after.is_none_or(|after| *id >= after.repository)) {
            let from = after.filter(|after| after.repository == id).map_or(0, |after| after.number);
            if answer.repositories.is_empty() || !turn.is_over() {
                // Listed, and forgotten meanwhile; or not fetched yet.
                let Some(archived) = jobs.archive.repository(id).await? else { continue };
                let (added, reached) = add_archived(jobs, id, from, &turn).await?;
                answer.repositories.push(AddedAll { repository: archived.full_name.to_string(), jobs: added });
                let Some(number) = reached else { continue };
                answer.next = Some(ItemId { repository: id, number }.to_string());
            } else {
                answer.next = Some(ItemId { repository: id, number: 0 }.to_string());
            }
            break;
        }
        Ok(answer)
    }
}

impl InPieces for AddAllParams {
    fn rest(&self, answer: &AddAllAnswer) -> Option<Self> {
        answer.next.clone().map(|next| Self { queue: self.queue, after: Some(next) })
    }

    fn join(answer: &mut AddAllAnswer, next: AddAllAnswer) {
        for added in next.repositories {
            match answer.repositories.last_mut().filter(|last| last.repository == added.repository) {
                Some(last) => last.jobs += added.jobs,
                None => answer.repositories.push(added),
            }
        }
        answer.next = next.next;
    }
}

/// The repository and the number in it after which a request goes on.
fn place(text: &str) -> Result<ItemId, Problem> {
    let place = text.split_once('#').and_then(|(repository, number)| {
        Some(ItemId { repository: RepositoryId(repository.parse().ok()?), number: number.parse().ok()? })
    });
    place.ok_or_else(|| Problem::Invalid(format!("`{text}` is not the `next` of an earlier answer")))
}

/// Everything on disk after a number, in ranges of what is there, so that a repository of 150,000 items is a second's
/// work. Says how many jobs were made, and up to which number if the turn was over before the end.
async fn add_archived(
    jobs: &Jobs,
    repository: RepositoryId,
    after: u64,
    turn: &Turn,
) -> Result<(u64, Option<u64>), Problem> {
    let numbers: Vec<u64> = jobs.archive.numbers(repository, after).try_collect().await?;
    let mut added = 0;
    for range in runs(numbers).flat_map(steps) {
        let last = *range.end();
        added += jobs.queue.push_range(QueueName::Index, repository, range, Lane::Backfill).await?.new;
        if turn.is_over() {
            return Ok((added, Some(last)));
        }
    }
    let parts = [part::METADATA, part::RELEASES, part::DAILY];
    let of = |part: &&str| trigger(QueueName::Index, Subject::part(repository, part), Lane::Backfill);
    jobs.queue.push(&parts.iter().map(of).collect::<Vec<_>>(), None).await?;
    Ok((added, None))
}

/// Asks GitHub what was updated since a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinceParams {
    /// `owner/name` or the numeric id.
    pub repository: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinceAnswer {
    /// What became of the job that asks.
    #[schema(value_type = String)]
    pub pushed: Pushed,
}

impl Request for SinceParams {
    type Answer = SinceAnswer;

    fn names(&self) -> Named<'_> {
        Named::repository(Some(&self.repository))
    }

    fn route(&self) -> Route {
        Route::Post("/api/v1/jobs/updated-since")
    }

    async fn ask(&self, jobs: &Jobs) -> Result<SinceAnswer, Problem> {
        if self.since > Timestamp::now() {
            let message =
                format!("{} lies in the future: expected a time that has passed, as in `3 days ago`", self.since);
            return Err(Problem::Invalid(message));
        }
        let id = known(jobs, &self.repository).await?;
        jobs.archive.look_back(id, self.since).await?;
        let trigger = trigger(QueueName::Download, Subject::part(id, part::UPDATES), Lane::Manual);
        let pushed = jobs.queue.push(&[trigger], None).await?;
        Ok(SinceAnswer { pushed: pushed.first().copied().unwrap_or(Pushed::Merged) })
    }
}
