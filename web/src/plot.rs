//! Plots as inline SVG, each with a table of the same figures behind it.

use maud::{Markup, html};

/// One month (or day) of a plot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Period {
    /// `2024-05`.
    pub(crate) name: String,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
}

const WIDTH: f64 = 720.0;
const HALF: f64 = 44.0;
/// Points of a line.
const MOST_POINTS: usize = 360;

/// Opened above the line, closed below it, a bar each a period.
pub(crate) fn opened_and_closed(periods: &[Period]) -> Markup {
    if periods.len() < 2 {
        return html! {};
    }
    let highest = periods.iter().map(|period| period.opened.max(period.closed)).max().unwrap_or(1).max(1);
    let step = WIDTH / periods.len() as f64;
    let bar = (step * 0.8).max(0.5);
    let height = |count: u64| count as f64 / highest as f64 * (HALF - 2.0);
    let number = |value: f64| format!("{value:.1}");
    let (first, last) = (&periods[0].name, &periods[periods.len() - 1].name);
    html! {
        figure class="plot" {
            svg viewBox=(format_args!("0 0 {WIDTH} {}", HALF * 2.0)) preserveAspectRatio="none" role="img"
                aria-label=(format_args!("Opened and closed a month from {first} to {last}; the table below has the figures")) {
                @for (at, period) in periods.iter().enumerate() {
                    @let x = number(at as f64 * step);
                    g {
                        title { (period.name) ": " (period.opened) " opened, " (period.closed) " closed" }
                        rect class="hover" x=(x) y="0" width=(number(step)) height=(number(HALF * 2.0)) {}
                        rect class="opened" x=(x) y=(number(HALF - height(period.opened))) width=(number(bar)) height=(number(height(period.opened))) {}
                        rect class="closed" x=(x) y=(number(HALF + 1.0)) width=(number(bar)) height=(number(height(period.closed))) {}
                    }
                }
            }
            figcaption {
                span { (first) }
                span class="legend" { span class="key opened" {} " opened " span class="key closed" {} " closed a month, " (highest) " at most" }
                span { (last) }
            }
            (table(&["month", "opened", "closed"], periods.iter().rev().map(|period| [period.name.clone(), period.opened.to_string(), period.closed.to_string()])))
        }
    }
}

/// A line over time: what is open at the end of each day.
pub(crate) fn line(points: &[(String, u64)], what: &str) -> Markup {
    if points.len() < 2 {
        return html! {};
    }
    let highest = points.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let height = HALF * 2.0;
    let last = points.len() - 1;
    let place = |at: usize| {
        let across = at as f64 / last as f64 * WIDTH;
        format!("{across:.1},{:.1}", height - points[at].1 as f64 / highest as f64 * (height - 4.0) - 1.0)
    };
    // More points than pixels show nothing more.
    let shown = points.len().min(MOST_POINTS);
    let path: Vec<String> = (0..shown).map(|at| place(at * last / (shown - 1))).collect();
    let path = path.join(" ");
    html! {
        figure class="plot" {
            svg viewBox=(format_args!("0 0 {WIDTH} {height}")) preserveAspectRatio="none" role="img"
                aria-label=(format_args!("{what} from {} to {}, {highest} at most; the table below has the figures", points[0].0, points[last].0)) {
                polygon class="area" points=(format_args!("0,{height} {path} {WIDTH},{height}")) {}
                polyline class="line" points=(path) vector-effect="non-scaling-stroke" {}
            }
            figcaption { span { (points[0].0) } span class="legend" { (what) ": " (points[last].1) " now, " (highest) " at most" } span { (points[last].0) } }
            (table(&["day", what], sampled(points).rev().map(|(day, count)| [day.clone(), count.to_string()])))
        }
    }
}

/// The last point of each month: a table of every day helps nobody.
fn sampled(points: &[(String, u64)]) -> impl DoubleEndedIterator<Item = &(String, u64)> {
    let month = |at: usize| points.get(at).and_then(|(day, _)| day.get(..7));
    (0..points.len()).filter(move |at| month(*at) != month(at + 1)).map(|at| &points[at])
}

fn table<const COLUMNS: usize>(heads: &[&str; COLUMNS], rows: impl Iterator<Item = [String; COLUMNS]>) -> Markup {
    html! {
        details class="figures" {
            summary { "Table" }
            div class="scroll" tabindex="0" role="region" aria-label="The figures of the plot" {
                table {
                    thead { tr { @for head in heads { th scope="col" { (head) } } } }
                    tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
                }
            }
        }
    }
}
