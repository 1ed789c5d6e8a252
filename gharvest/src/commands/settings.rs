//! `gharvest settings`

use gharvest_service_kit::process::{CommonArgs, Exit};

use crate::output::{line, say};

pub(crate) fn run(common: &CommonArgs) -> anyhow::Result<Exit> {
    let loaded = common.load()?;
    for warning in &loaded.warnings {
        say(format_args!("warning: {warning}"));
    }
    say(format_args!("data folder: {}", loaded.settings.data_dir.display()));
    line(loaded.redacted().trim_end());
    Ok(Exit::Done)
}
