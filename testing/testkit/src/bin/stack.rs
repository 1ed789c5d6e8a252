//! Runs the stack of the compose file without containers until standard input or the process ends.

#![expect(clippy::print_stdout, reason = "a command line")]

use std::{env, error::Error, io};

use gharvest_testkit::Stack;

/// Settings of one's own that win over the compose file's: what a `.env` would say.
const HANDED_ON: [&str; 2] = ["GITHUB_TOKEN", "GHARVEST_GITHUB__API_URL"];

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<_> = HANDED_ON.into_iter().map(|name| (name, env::var(name).unwrap_or_default())).collect();
    // Without a token, GitHub is asked as a stranger; the compose file's made-up one would be refused.
    let given: Vec<_> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let given: Vec<_> =
        given.into_iter().filter(|(name, value)| *name == "GITHUB_TOKEN" || !value.is_empty()).collect();
    let mut stack = Stack::start("stack", &given).ok_or("something that the stack needs is missing")?;
    for repository in env::args().skip(1) {
        let tracked = stack.command("gharvest", "gharvest").args(["track", &repository]).status()?;
        if !tracked.success() {
            return Err(format!("{repository} cannot be tracked").into());
        }
    }
    println!("{}", stack.url());
    eprintln!("press Enter to stop it; the data is in {} until then", stack.data_dir().display());
    io::stdin().read_line(&mut String::new())?;
    for (service, code) in stack.stop() {
        eprintln!("{service} ended with {code:?}");
    }
    Ok(())
}
