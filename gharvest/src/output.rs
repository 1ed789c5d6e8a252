//! Data goes to stdout, words for people to stderr; colours only on a terminal.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const PURPLE: Style = AnsiColor::Magenta.on_default();

/// Prints a line of data; colours are taken out where stdout is no terminal.
pub(crate) fn line(text: impl std::fmt::Display) {
    // A reader that went away (`| head`) ends the output, not the program with a panic.
    drop(writeln!(anstream::stdout(), "{text}"));
}

/// Prints a value as indented JSON for a person, as one line for a program.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    line(text);
    Ok(())
}

/// Says something to the person.
pub(crate) fn say(text: impl std::fmt::Display) {
    drop(writeln!(anstream::stderr(), "{text}"));
}

/// Text of somebody else, without characters that steer a terminal.
pub(crate) fn safe(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    // GitHub's texts end their lines in both ways.
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2 days`, `3 h`, `4 min`, `5 s`.
pub(crate) fn rough(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `1.5 GB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(["0", "999", "1,000", "1,234,567"].map(str::to_owned), [0, 999, 1_000, 1_234_567].map(grouped));
        assert_eq!(["5 s", "2 min", "3 h", "2 days"].map(str::to_owned), [5, 120, 10_800, 172_800].map(rough));
        assert_eq!(["7 B", "1.5 kB", "2.0 GB"].map(str::to_owned), [7, 1_500, 2_000_000_000].map(bytes));
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\r\nc"), "a\u{fffd}[2Jb\nc");
    }
}
