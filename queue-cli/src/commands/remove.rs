//! `remove` and `purge`

use anyhow::bail;
use clap::Args;
use gharvest_model::{Lane, QueueName, RepositoryName};
use gharvest_queue_requests::{
    CountAnswer, CountParams, InPieces, JobFilter, ManyParams, Purge, RemoveAnswer, RemoveParams, Removed, Written,
};

use crate::{
    hand::Hand,
    output::{confirm, json, say},
};

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// download or index
    queue: QueueName,
    /// The jobs' subjects
    #[arg(required_unless_present = "range", value_name = "SUBJECT")]
    subjects: Vec<Written>,
    /// Instead: all items of a repository with numbers from FROM to TO
    #[arg(long, num_args = 3, value_names = ["OWNER/NAME", "FROM", "TO"], conflicts_with = "subjects")]
    range: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// What became of it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// download or index
    queue: QueueName,
    /// Only of this lane
    #[arg(long)]
    lane: Option<Lane>,
    /// Only of this repository
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<RepositoryName>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// What became of it as JSON
    #[arg(long)]
    json: bool,
}

impl RemoveArgs {
    fn params(&self) -> anyhow::Result<RemoveParams> {
        let mut params = RemoveParams::new(self.queue);
        match self.range.as_slice() {
            [repository, from, to] => {
                let number = |text: &String| {
                    text.parse().map_err(|_| {
                        let message = format!("`{text}` is no number: expected --range OWNER/NAME FROM TO, as in --range mozilla/web-bugs 1 91234");
                        anyhow::anyhow!(gharvest_service_kit::process::Usage(message))
                    })
                };
                let usage =
                    |error: gharvest_model::InvalidName| gharvest_service_kit::process::Usage(error.to_string());
                params.repository = Some(repository.parse::<RepositoryName>().map_err(usage)?.to_string());
                (params.from, params.to) = (Some(number(from)?), Some(number(to)?));
            }
            _ => params.subjects = self.subjects.iter().map(Written::to_string).collect(),
        }
        Ok(params)
    }
}

pub(crate) async fn remove(hand: &Hand, args: &RemoveArgs) -> anyhow::Result<()> {
    let params = args.params()?;
    let before = count(hand, args.queue).await?;
    if let [repository, from, to] = args.range.as_slice() {
        let counts = hand.ask(&CountParams { queue: args.queue, repository: params.repository.clone() }).await?;
        let question = format!(
            "Remove all jobs of {repository}#{from} to #{to} from the {} queue, which has {} of that repository?",
            args.queue,
            all(&counts)
        );
        confirm(&question, args.yes)?;
    }
    let answer = ask(hand, &params).await?;
    for (removed, subject) in answer.jobs.iter().zip(&params.subjects) {
        say(match removed {
            Removed::Missing => format!("{subject}: no such job"),
            Removed::Removed => format!("{subject}: removed"),
            Removed::InWork => format!("{subject}: is being worked on, goes when that is done and does not run again"),
        });
    }
    if answer.jobs.is_empty() {
        say(format_args!("{} removed, {} go when the work on them is done", answer.removed, answer.in_work));
    }
    let after = count(hand, args.queue).await?;
    say(format_args!("the {} queue had {} jobs and has {}", args.queue, all(&before), all(&after)));
    if args.json {
        json(&answer)?;
    }
    match answer.jobs.iter().filter(|removed| **removed == Removed::Missing).count() {
        0 => Ok(()),
        missing => bail!("{missing} of {} jobs were not there", args.subjects.len()),
    }
}

/// As many subjects a request as it takes; all were checked when they were read.
async fn ask(hand: &Hand, params: &RemoveParams) -> anyhow::Result<RemoveAnswer> {
    let mut parts = params.subjects.chunks(RemoveParams::MOST_SUBJECTS);
    let part = |subjects: &[String]| RemoveParams { subjects: subjects.to_vec(), ..params.clone() };
    let mut answer = hand.ask_whole(part(parts.next().unwrap_or_default())).await?;
    for subjects in parts {
        RemoveParams::join(&mut answer, hand.ask_whole(part(subjects)).await?);
    }
    Ok(answer)
}

async fn count(hand: &Hand, queue: QueueName) -> anyhow::Result<CountAnswer> {
    hand.ask(&CountParams { queue, repository: None }).await
}

fn all(counts: &CountAnswer) -> u64 {
    counts.outstanding() + counts.buried
}

pub(crate) async fn purge(hand: &Hand, args: &PurgeArgs) -> anyhow::Result<()> {
    let repository = args.repository.as_ref().map(ToString::to_string);
    let before = count(hand, args.queue).await?;
    let of_repository = match &repository {
        Some(_) => Some(hand.ask(&CountParams { queue: args.queue, repository: repository.clone() }).await?),
        None => None,
    };
    let lane = args.lane.map(|lane| format!(" of lane {lane}")).unwrap_or_default();
    let of = match (&args.repository, of_repository) {
        (Some(name), Some(counts)) => format!(" of {name}, which has {}", all(&counts)),
        _ => String::new(),
    };
    let question = format!("Remove all jobs{lane}{of}, from the {} queue of {}?", args.queue, all(&before));
    confirm(&question, args.yes)?;
    let filter = JobFilter { repository, lane: args.lane, state: None };
    let answer = hand.ask_whole(Purge(ManyParams { queue: args.queue, filter, limit: None, after: None })).await?;
    let after = count(hand, args.queue).await?;
    say(format_args!(
        "{} removed; the {} queue had {} jobs and has {}",
        answer.jobs,
        args.queue,
        all(&before),
        all(&after)
    ));
    if before.leased > 0 {
        say("what is being worked on goes when that is done, and does not run again");
    }
    if args.json { json(&answer) } else { Ok(()) }
}
