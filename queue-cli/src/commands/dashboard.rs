//! `status --watch` in a terminal: both queues, what they do a second, budgets and hooks, drawn anew every two seconds.

use std::{io, time::Instant};

use gharvest_model::Lane;
use gharvest_queue_requests::{QueueAnswer, StatusAnswer, StatusParams};
use ratatui::{
    Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    symbols::line::THICK_HORIZONTAL,
    text::{Line, Span},
    widgets::{Block, LineGauge, Paragraph, Row, Sparkline, Table},
};

use super::status::{WATCH_EVERY, age, finished_a_second, narrowed_line, until_empty};
use crate::{hand::Hand, output::safe};

/// Rates that are kept for the curves: some minutes.
const CURVE: usize = 200;
/// Budgets shown at most.
const MOST_BUDGETS: usize = 4;

/// What is shown.
#[derive(Debug, Default)]
struct Dashboard {
    status: Option<StatusAnswer>,
    /// When `status` was asked.
    asked: Option<Instant>,
    /// Jobs finished a second, for each queue, the latest last; in tenths.
    rates: Vec<Vec<u64>>,
    /// Why the last look failed; what is shown is older then.
    trouble: Option<String>,
    /// Lines of repositories and hooks that are passed over.
    scrolled: usize,
}

/// What the person wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Look,
    Redraw,
    Scroll(isize),
    Leave,
}

/// Shows the dashboard until the person leaves. A system that does not answer is said, and asked again.
pub(crate) async fn watch(hand: &Hand) -> anyhow::Result<()> {
    // Asked before the screen is taken: what is wrong from the start is said as everywhere else.
    let mut dashboard = Dashboard::default();
    dashboard.take(hand.ask(&StatusParams {}).await?, Instant::now());
    let mut terminal = ratatui::try_init()?;
    let ended = show(hand, &mut terminal, &mut dashboard).await;
    ratatui::restore();
    ended
}

async fn show(hand: &Hand, terminal: &mut ratatui::DefaultTerminal, dashboard: &mut Dashboard) -> anyhow::Result<()> {
    let mut next_look = Instant::now() + WATCH_EVERY;
    loop {
        terminal.draw(|frame| dashboard.draw(frame))?;
        // The terminal's events can only be waited for by blocking.
        match tokio::task::spawn_blocking(move || wish(next_look)).await?? {
            Wish::Leave => return Ok(()),
            Wish::Redraw => {}
            Wish::Scroll(lines) => dashboard.scrolled = dashboard.scrolled.saturating_add_signed(lines),
            Wish::Look => {
                match hand.ask(&StatusParams {}).await {
                    Ok(status) => dashboard.take(status, Instant::now()),
                    Err(error) => dashboard.trouble = Some(format!("{error:#}")),
                }
                next_look = Instant::now() + WATCH_EVERY;
            }
        }
    }
}

/// Waits for a key that means something, but not beyond the next look.
fn wish(next_look: Instant) -> io::Result<Wish> {
    loop {
        let left = next_look.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(Wish::Look);
        }
        let wish = match event::read()? {
            Event::Key(key) => pressed(key),
            Event::Resize(..) => Some(Wish::Redraw),
            _ => None,
        };
        if let Some(wish) = wish {
            return Ok(wish);
        }
    }
}

fn pressed(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Wish::Leave,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Leave,
        KeyCode::Char('r') => Wish::Look,
        KeyCode::Down | KeyCode::Char('j') => Wish::Scroll(1),
        KeyCode::Up | KeyCode::Char('k') => Wish::Scroll(-1),
        KeyCode::PageDown => Wish::Scroll(10),
        KeyCode::PageUp => Wish::Scroll(-10),
        _ => return None,
    })
}

impl Dashboard {
    /// Takes a new status over, and what was finished since the last one.
    fn take(&mut self, status: StatusAnswer, at: Instant) {
        if let (Some(before), Some(asked)) = (&self.status, self.asked) {
            self.rates.resize(status.queues.len(), Vec::new());
            for (queue, (known, rates)) in status.queues.iter().zip(before.queues.iter().zip(&mut self.rates)) {
                let rate = finished_a_second(queue, known.counts.finished, at.duration_since(asked));
                rates.push((rate * 10.0) as u64);
                rates.drain(..rates.len().saturating_sub(CURVE));
            }
        }
        (self.status, self.asked, self.trouble) = (Some(status), Some(at), None);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let Some(status) = &self.status else { return };
        let budgets = status.budgets.len().min(MOST_BUDGETS) as u16;
        let said_lines = (status.pauses.len() + status.narrowed.len()) as u16;
        let [queues, said, gauges, lists, foot] = Layout::vertical([
            Constraint::Length(15),
            Constraint::Length(said_lines),
            Constraint::Length(budgets),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let columns = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).split(queues);
        for (index, (queue, area)) in status.queues.iter().zip(columns.iter()).enumerate() {
            let rates = self.rates.get(index).map(Vec::as_slice).unwrap_or_default();
            draw_queue(frame, *area, status, queue, rates);
        }
        let pauses = status.pauses.iter().map(|pause| {
            let of = pause.repository.as_deref().map(|name| format!(" of {name}")).unwrap_or_default();
            format!("paused: the {} queue{of} until {}: {}", pause.queue, pause.until, safe(&pause.reason))
        });
        let lines = pauses.chain(status.narrowed.iter().map(narrowed_line)).map(|line| Line::from(line).yellow());
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), said);
        self.draw_budgets(frame, gauges, status);
        let [repositories, hooks] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(lists);
        self.draw_repositories(frame, repositories, status);
        self.draw_hooks(frame, hooks, status);
        let foot_line = match &self.trouble {
            Some(trouble) => Line::from(format!("{}; shown is {}", safe(trouble), status.at)).red(),
            None => Line::from(format!("q leave, r look again, ↑↓ scroll   {}", safe(&status.durability))).dim(),
        };
        frame.render_widget(Paragraph::new(foot_line), foot);
    }

    fn draw_budgets(&self, frame: &mut Frame<'_>, area: Rect, status: &StatusAnswer) {
        let rows = Layout::vertical(vec![Constraint::Length(1); status.budgets.len().min(MOST_BUDGETS)]).split(area);
        for (budget, row) in status.budgets.iter().zip(rows.iter()) {
            let share = (budget.remaining as f64 / budget.limit.max(1) as f64).clamp(0.0, 1.0);
            let label = format!(
                "{:<9} {} of {} calls left, full again {}",
                safe(&budget.resource),
                budget.remaining,
                budget.limit,
                budget.reset_at
            );
            let color = if share < 0.1 { Color::Red } else { Color::Green };
            let gauge = LineGauge::default()
                .ratio(share)
                .filled_symbol(THICK_HORIZONTAL)
                .label(label)
                .filled_style(Style::new().fg(color));
            frame.render_widget(gauge, *row);
        }
    }

    fn draw_repositories(&self, frame: &mut Frame<'_>, area: Rect, status: &StatusAnswer) {
        let mut lines: Vec<_> = status
            .queues
            .iter()
            .flat_map(|queue| queue.repositories.iter().map(|repository| (queue.counts.queue, repository)))
            .collect();
        lines.sort_by_key(|(_, repository)| std::cmp::Reverse(repository.outstanding));
        let rows = lines.into_iter().skip(self.scrolled).map(|(queue, repository)| {
            let buried = if repository.buried > 0 { repository.buried.to_string() } else { String::new() };
            let cells = [
                safe(&repository.repository),
                queue.to_string(),
                format!("{:>10}", repository.outstanding),
                format!("{buried:>8}"),
            ];
            Row::new(cells)
        });
        let widths = [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(10), Constraint::Length(8)];
        let head = Row::new(["repository", "queue", "   waiting", "  buried"]).bold();
        frame.render_widget(Table::new(rows, widths).header(head).block(Block::bordered()), area);
    }

    fn draw_hooks(&self, frame: &mut Frame<'_>, area: Rect, status: &StatusAnswer) {
        let rows = status.feeds.iter().skip(self.scrolled).map(|feed| {
            let heard = feed.last_delivery_at.map_or_else(|| "never".to_owned(), |at| age(at, status.at));
            let cells = [
                safe(&feed.repository),
                heard,
                format!("{:>6}", feed.failures),
                format!("{:>9}", feed.recovered),
                safe(feed.trouble.as_deref().unwrap_or_default()),
            ];
            let row = Row::new(cells);
            if feed.trouble.is_some() { row.yellow() } else { row }
        });
        let widths = [
            Constraint::Fill(2),
            Constraint::Length(8),
            Constraint::Length(6),
            Constraint::Length(9),
            Constraint::Fill(2),
        ];
        let head = Row::new(["hook of", "heard", "failed", "recovered", "trouble"]).bold();
        frame.render_widget(Table::new(rows, widths).header(head).block(Block::bordered()), area);
    }
}

fn draw_queue(frame: &mut Frame<'_>, area: Rect, status: &StatusAnswer, queue: &QueueAnswer, rates: &[u64]) {
    let counts = &queue.counts;
    let block = Block::bordered().title(format!(" {} queue ", counts.queue).bold());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [lanes, numbers, speed, curve] =
        Layout::vertical([Constraint::Length(5), Constraint::Length(3), Constraint::Length(1), Constraint::Fill(1)])
            .areas(inner);
    let most = counts.ready.iter().copied().max().unwrap_or(0).max(1);
    let rows = Lane::ALL.into_iter().map(|lane| {
        let ready = counts.ready[lane.index()];
        let oldest = queue.oldest.iter().find(|oldest| oldest.lane == lane);
        let waits = oldest.map(|oldest| format!("oldest {}", age(oldest.since, status.at))).unwrap_or_default();
        let bar = "▇".repeat((u128::from(ready) * 12).div_ceil(u128::from(most)) as usize);
        Row::new([lane.as_str().to_owned(), format!("{ready:>10}"), bar, waits])
    });
    let widths = [Constraint::Length(10), Constraint::Length(10), Constraint::Length(12), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), lanes);
    let mut lines = vec![
        Line::from(format!("delayed {:>13}   in work {:>9}", counts.delayed, counts.leased)),
        Line::from(format!("finished {:>12}   retried {:>9}", counts.finished, counts.retried)),
    ];
    let buried = Span::from(format!("buried {:>14}", counts.buried));
    lines.push(Line::from(if counts.buried > 0 { buried.red() } else { buried }));
    frame.render_widget(Paragraph::new(lines), numbers);
    let rate = rates.last().map(|tenths| *tenths as f64 / 10.0);
    let said = match rate {
        None => "no rate yet".to_owned(),
        Some(rate) => {
            let end =
                until_empty(counts.outstanding(), rate).map(|end| format!(", empty in {end}")).unwrap_or_default();
            format!("{rate:.1} jobs/s{end}")
        }
    };
    frame.render_widget(Paragraph::new(said), speed);
    let shown = &rates[rates.len().saturating_sub(usize::from(curve.width))..];
    frame.render_widget(Sparkline::default().data(shown).style(Style::new().fg(Color::Cyan)), curve);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::{Terminal, backend::TestBackend};

    use super::{super::status::tests::example, *};

    fn drawn(dashboard: &Dashboard, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| dashboard.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    /// Two looks, a hundred seconds apart.
    fn dashboard() -> Dashboard {
        let (mut dashboard, begun) = (Dashboard::default(), Instant::now());
        dashboard.take(example(), begun);
        let mut later = example();
        later.queues[0].counts.finished += 5_000;
        dashboard.take(later, begun + Duration::from_secs(100));
        dashboard
    }

    #[test]
    fn a_dashboard_shows_queues_rates_budgets_and_hooks() {
        insta::assert_snapshot!(drawn(&dashboard(), 120, 30));
    }

    #[test]
    fn trouble_is_said_beside_what_was_seen_last() {
        let dashboard = Dashboard { trouble: Some("connection \u{1b}[31mrefused".to_owned()), ..dashboard() };
        let shown = drawn(&dashboard, 120, 30);
        assert!(shown.contains("connection \u{fffd}[31mrefused; shown is 2024-06-01T12:00:00Z"), "{shown}");
        assert!(shown.contains("90000"), "{shown}");
    }

    #[test]
    fn no_size_of_a_terminal_is_too_small() {
        for (width, height) in [(1, 1), (20, 5), (40, 12), (300, 3), (3, 100)] {
            drawn(&dashboard(), width, height);
            drawn(&Dashboard { scrolled: 1_000, ..dashboard() }, width, height);
        }
    }

    #[test]
    fn curves_end() {
        let mut dashboard = dashboard();
        for second in 0..1_000 {
            dashboard.take(example(), Instant::now() + Duration::from_secs(1_000 + second));
        }
        assert!(dashboard.rates.iter().all(|rates| rates.len() == CURVE));
    }

    #[test]
    fn keys_mean_what_the_last_line_says() {
        let key = |code| pressed(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(key(KeyCode::Char('q')), Some(Wish::Leave));
        assert_eq!(key(KeyCode::Char('r')), Some(Wish::Look));
        assert_eq!((key(KeyCode::Down), key(KeyCode::Up)), (Some(Wish::Scroll(1)), Some(Wish::Scroll(-1))));
        assert_eq!((key(KeyCode::Char('c')), key(KeyCode::Char('x'))), (None, None));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(pressed(interrupt), Some(Wish::Leave));
    }
}
