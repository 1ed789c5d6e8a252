//! The table: rows, their goals, and whether they were met.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// A result below this share of its goal fails the run.
pub const FAILS_BELOW: f64 = 0.7;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// Its unit.
    pub unit: String,
    /// What this machine can do at best, measured in the same run.
    pub limit: Option<Limit>,
    /// What should be reached.
    pub goal: Option<Goal>,
}

/// What a figure is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// How it was measured.
    pub what: String,
    /// The figure, in the row's unit.
    pub value: f64,
}

/// What should be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The figure over its limit is at least this.
    Ratio(f64),
    /// The figure is at most this, in the row's unit.
    AtMost(f64),
}

/// Whether a goal was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is no goal.
    Figure,
    /// The goal was reached.
    Met,
    /// It was missed by less than would fail the run.
    Short,
    /// Below 70 % of the goal.
    Failed,
}

impl Row {
    /// A figure by itself.
    pub fn new(what: impl Into<String>, measured: f64, unit: &str) -> Self {
        Self { what: what.into(), measured, unit: unit.to_owned(), limit: None, goal: None }
    }

    /// Beside it, what the same machine can do at best.
    #[must_use]
    pub fn over(mut self, what: impl Into<String>, value: f64) -> Self {
        self.limit = Some(Limit { what: what.into(), value });
        self
    }

    /// The ratio to the limit should be at least this.
    #[must_use]
    pub fn at_least(mut self, ratio: f64) -> Self {
        self.goal = Some(Goal::Ratio(ratio));
        self
    }

    /// The figure should be at most this.
    #[must_use]
    pub fn at_most(mut self, value: f64) -> Self {
        self.goal = Some(Goal::AtMost(value));
        self
    }

    /// The figure over its limit.
    pub fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|limit| self.measured / limit.value)
    }

    /// Whether the goal was met.
    pub fn verdict(&self) -> Verdict {
        let reached = match (self.goal, self.ratio()) {
            (Some(Goal::Ratio(goal)), Some(ratio)) => ratio / goal,
            (Some(Goal::AtMost(goal)), _) => goal / self.measured,
            _ => return Verdict::Figure,
        };
        match reached {
            reached if reached >= 1.0 => Verdict::Met,
            reached if reached >= FAILS_BELOW => Verdict::Short,
            // A figure that is no number is no success.
            _ => Verdict::Failed,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Figure => "",
            Self::Met => "met",
            Self::Short => "short",
            Self::Failed => "FAILED",
        })
    }
}

/// The rows of one part as a Markdown table.
pub fn markdown(part: &str, rows: &[Row]) -> String {
    let head = [part, "measured", "unit", "limit", "ratio", "goal", "verdict", "the limit is"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let widths: Vec<_> =
        (0..8).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        write_line(&mut text, line, &widths);
        if number == 0 {
            let dashes = widths.iter().zip(0..).map(|(width, at)| dashes(*width, at));
            writeln!(text, "| {} |", dashes.collect::<Vec<_>>().join(" | ")).expect("a text takes what is written");
        }
    }
    text
}

/// Figures stand on the right.
fn is_figure(column: usize) -> bool {
    matches!(column, 1 | 3..=5)
}

fn dashes(width: usize, column: usize) -> String {
    if is_figure(column) { format!("{}:", "-".repeat(width.max(2) - 1)) } else { "-".repeat(width) }
}

fn write_line(text: &mut String, line: &[String; 8], widths: &[usize]) {
    let padded = line.iter().zip(widths).zip(0..).map(|((cell, width), column)| {
        if is_figure(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    writeln!(text, "| {} |", padded.collect::<Vec<_>>().join(" | ")).expect("a text takes what is written");
}

fn cells(row: &Row) -> [String; 8] {
    let limit = row.limit.as_ref();
    let goal = match row.goal {
        Some(Goal::Ratio(ratio)) => format!("≥ {ratio}"),
        Some(Goal::AtMost(value)) => format!("≤ {}", figure(value)),
        None => String::new(),
    };
    [
        row.what.clone(),
        figure(row.measured),
        row.unit.clone(),
        limit.map_or_else(String::new, |limit| figure(limit.value)),
        row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        goal,
        row.verdict().to_string(),
        limit.map_or_else(String::new, |limit| limit.what.clone()),
    ]
}

/// Three digits, or all of a larger number's.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => grouped(value.round() as i64),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = if value < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_missed_a_little_or_failed() {
        let row = |measured| Row::new("x", measured, "/s").over("bare", 100.0).at_least(0.8);
        let verdicts = [80.0, 79.0, 56.0, 55.0].map(|measured| row(measured).verdict());
        assert_eq!(verdicts, [Verdict::Met, Verdict::Short, Verdict::Short, Verdict::Failed]);
        let row = |measured| Row::new("x", measured, "ms").at_most(50.0);
        let verdicts = [50.0, 71.0, 72.0].map(|measured| row(measured).verdict());
        assert_eq!(verdicts, [Verdict::Met, Verdict::Short, Verdict::Failed]);
        assert_eq!(Row::new("x", 1.0, "ms").over("bare", 2.0).verdict(), Verdict::Figure);
    }

    #[test]
    fn a_figure_that_is_no_number_fails() {
        assert_eq!(Row::new("x", f64::NAN, "ms").at_most(50.0).verdict(), Verdict::Failed);
        assert_eq!(Row::new("x", f64::NAN, "/s").over("bare", 1.0).at_least(0.5).verdict(), Verdict::Failed);
    }

    #[test]
    fn the_table_is_aligned_and_groups_digits() {
        let rows = [
            Row::new("push", 1_234_567.0, "jobs/s").over("inserts", 2_000_000.0).at_least(0.5),
            Row::new("p99", 0.0123, "ms"),
        ];
        let expected = "\
| queue |  measured | unit   |     limit | ratio |  goal | verdict | the limit is |
| ----- | --------: | ------ | --------: | ----: | ----: | ------- | ------------ |
| push  | 1,234,567 | jobs/s | 2,000,000 |  0.62 | ≥ 0.5 | met     | inserts      |
| p99   |    0.0123 | ms     |           |       |       |         |              |
";
        assert_eq!(markdown("queue", &rows), expected);
    }
}
