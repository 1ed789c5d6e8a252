//! `gharvest schedules`: what runs when, how it went, and a way to have it run now.

use anyhow::Context;
use clap::{Args, Subcommand};
use gharvest_seeder::{Run, Task, run_now, runs};
use gharvest_service_kit::process::{CommonArgs, Exit};
use serde::Serialize;

use crate::output::{json, line, safe, say};

#[derive(Debug, Args)]
#[command(after_help = "Example: gharvest schedules run reconcile")]
pub(crate) struct SchedulesArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have a task run at once, for all repositories, by a running seeder
    Run {
        /// The task, as the list names it
        task: String,
    },
}

#[derive(Debug, Serialize)]
struct Scheduled {
    task: &'static str,
    #[serde(flatten)]
    run: Option<Run>,
}

pub(crate) async fn run(common: &CommonArgs, args: SchedulesArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let state = gharvest_backends::state(&settings).await?;
    if let Some(What::Run { task }) = args.what {
        let names = Task::ALL.map(Task::as_str).join(", ");
        let task = Task::named(&task).with_context(|| format!("`{task}` is no task: there are {names}"))?;
        run_now(state.as_ref(), task).await?;
        say(format_args!("{} runs within seconds, if a seeder is running", task.as_str()));
        return Ok(Exit::Done);
    }
    let mut runs = runs(state.as_ref()).await?;
    let of = |task: Task, runs: &mut Vec<(Task, Run)>| {
        let place = runs.iter().position(|(of, _)| *of == task);
        place.map(|place| runs.swap_remove(place).1)
    };
    let all = Task::ALL.map(|task| Scheduled { task: task.as_str(), run: of(task, &mut runs) });
    if args.json {
        json(&all)?;
    } else {
        all.iter().for_each(print);
    }
    Ok(Exit::Done)
}

fn print(scheduled: &Scheduled) {
    let task = scheduled.task;
    match &scheduled.run {
        None => line(format_args!("{task:<12} never ran")),
        Some(run) => {
            let last = run.last.map_or_else(|| "never".to_owned(), |last| last.to_string());
            line(format_args!("{task:<12} last {last}  next {}  {} jobs pushed", run.next, run.pushed));
            if let Some(error) = &run.error {
                line(format_args!("{:<12} failed: {}", "", safe(error)));
            }
        }
    }
}
