//! Recounts everything, offline.

use std::collections::BTreeMap;

use gharvest_model::QueueName;
use rusqlite::Connection;

use crate::{head, row::queue_number};

/// What differs, in words.
pub(crate) fn verify(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let checked: Vec<String> =
        connection.prepare("PRAGMA quick_check(10)")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    problems.extend(checked.into_iter().filter(|line| line != "ok").map(|line| format!("SQLite: {line}")));
    for queue in QueueName::ALL {
        verify_queue(connection, queue, &mut problems)?;
    }
    Ok(problems)
}

fn verify_queue(connection: &Connection, queue: QueueName, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let number = queue_number(queue);
    let recounted = read_slots(
        connection,
        "SELECT repository, CASE state WHEN 0 THEN 5 WHEN 1 THEN lane WHEN 2 THEN 6 ELSE 7 END AS slot, count(*)
         FROM job WHERE queue = ?1 GROUP BY repository, slot",
        number,
    )?;
    let tallied = read_slots(connection, "SELECT repository, slot, jobs FROM tally WHERE queue = ?1", number)?;
    for slot in recounted.keys().chain(tallied.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (found, counted) = (recounted.get(slot).unwrap_or(&0), tallied.get(slot).unwrap_or(&0));
        if found != counted {
            let (repository, slot) = slot;
            let what = describe(*slot);
            problems.push(format!("{queue}: repository {repository} has {found} {what} jobs, {counted} are counted"));
        }
    }
    let head = head::load(connection, queue)?;
    for (slot, counted) in head.jobs.iter().enumerate() {
        let found: u64 = recounted.iter().filter(|((_, of), _)| *of == slot).map(|(_, jobs)| jobs).sum();
        if found != *counted {
            problems.push(format!("{queue}: there are {found} {} jobs, {counted} are counted", describe(slot)));
        }
    }
    for (sql, what) in [
        (
            "SELECT count(*) FROM job WHERE queue = ?1 AND state = 2 AND NOT EXISTS (
                 SELECT 1 FROM lease WHERE lease.queue = job.queue AND lease.token = job.token)",
            "leased jobs belong to no lease",
        ),
        (
            "SELECT count(*) FROM lease WHERE queue = ?1 AND NOT EXISTS (
                 SELECT 1 FROM job WHERE job.queue = lease.queue AND job.token = lease.token AND job.state = 2)",
            "leases hold no job",
        ),
    ] {
        let count: u64 = connection.query_row(sql, [number], |row| row.get(0))?;
        if count > 0 {
            problems.push(format!("{queue}: {count} {what}"));
        }
    }
    Ok(())
}

fn read_slots(connection: &Connection, sql: &str, queue: i64) -> rusqlite::Result<BTreeMap<(u64, usize), u64>> {
    let mut select = connection.prepare(sql)?;
    let rows = select.query_map([queue], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

fn describe(slot: usize) -> String {
    match slot {
        5 => "delayed".to_owned(),
        6 => "leased".to_owned(),
        7 => "buried".to_owned(),
        lane => {
            gharvest_model::Lane::ALL.get(lane).map_or_else(|| format!("slot {lane}"), |lane| format!("ready {lane}"))
        }
    }
}
