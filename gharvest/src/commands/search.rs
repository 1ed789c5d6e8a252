//! `gharvest search QUERY`: the search box in the terminal.

use clap::Args;
use gharvest_search::{
    Access, Facet, Hit, SearchRequest, Start,
    query::{ParseContext, Query},
};
use gharvest_service_kit::process::{CommonArgs, Exit};
use jiff::Timestamp;

use crate::output::{BOLD, DIM, GREEN, PURPLE, RED, grouped, json, line, safe, say};

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The query, in GitHub's syntax: words, "phrases", is:open, label:bug, author:x, created:>2024-01-01, sort:updated
    #[arg(required = true, value_name = "QUERY", allow_hyphen_values = true)]
    query: Vec<String>,
    /// How many hits
    #[arg(long, short, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Also count labels, authors and states
    #[arg(long)]
    facets: bool,
}

pub(crate) async fn run(common: &CommonArgs, args: SearchArgs) -> anyhow::Result<Exit> {
    let settings = common.load()?.settings;
    let index = gharvest_backends::index_read_only(&settings).await?;
    let parsed = Query::parse(&args.query.join(" "), &ParseContext { now: Timestamp::now(), me: None });
    for note in &parsed.notes {
        let hint = note.suggestion.as_deref().map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        say(format_args!("note: column {}: {}{hint}", note.column, note.message));
    }
    let request = SearchRequest {
        query: parsed.query,
        access: Access::All,
        per_page: args.limit as usize,
        start: Start::Page(1),
        facets: if args.facets { vec![Facet::State, Facet::Label, Facet::Author] } else { Vec::new() },
        snippets: !args.json,
        timeout: settings.search.timeout,
    };
    let reply = index.search(&request).await?;
    if args.json {
        let items: Vec<_> = reply.hits.iter().map(|hit| &hit.item).collect();
        json(&serde_json::json!({ "total": reply.total, "items": items, "facets": reply.facets }))?;
        return Ok(Exit::Done);
    }
    for hit in &reply.hits {
        print(hit);
    }
    for counts in &reply.facets {
        let values: Vec<_> =
            counts.values.iter().map(|value| format!("{} {}", safe(&value.value), value.count)).collect();
        say(format_args!("{:?}: {}", counts.facet, values.join(", ")));
    }
    say(format_args!("{} found", grouped(reply.total)));
    Ok(Exit::Done)
}

fn print(hit: &Hit) {
    let item = &hit.item;
    let style = match item.state.as_str() {
        "open" => GREEN,
        "merged" => PURPLE,
        _ => RED,
    };
    let labels = if item.labels.is_empty() { String::new() } else { format!(" [{}]", safe(&item.labels.join(", "))) };
    line(format_args!(
        "{style}{:<6}{style:#} {}#{}  {BOLD}{}{BOLD:#}{DIM}{labels}{DIM:#}",
        item.state,
        item.repository,
        item.number,
        safe(&item.title)
    ));
    if let Some(snippet) = &hit.snippet {
        let pieces = snippet.pieces.iter().map(|piece| match piece.hit {
            true => format!("{BOLD}{}{BOLD:#}", safe(&piece.text)),
            false => safe(&piece.text),
        });
        let text = pieces.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
        line(format_args!("       {DIM}{text}{DIM:#}"));
    }
}
