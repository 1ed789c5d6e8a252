//! Data to stdout, words and questions to stderr.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use gharvest_service_kit::process::Usage;
use serde::Serialize;

/// Prints a line of data.
pub(crate) fn line(text: impl std::fmt::Display) {
    // A reader that went away (`| head`) ends the output, not the program with a panic.
    drop(writeln!(anstream::stdout(), "{text}"));
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?);
    Ok(())
}

/// Says something to the person.
pub(crate) fn say(text: impl std::fmt::Display) {
    drop(writeln!(anstream::stderr(), "{text}"));
}

/// Text of somebody else, without characters that steer a terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Asks before something that cannot be undone. Without a terminal there is nobody to ask: `--yes` is needed.
pub(crate) fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!(Usage(format!("{question} Nobody can be asked here: say --yes")));
    }
    drop(write!(anstream::stderr(), "{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was done");
    }
    Ok(())
}
