//! Writes the dashboards' files beside this crate's manifest.

use std::{fs, path::Path};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, objects) in [
        ("kibana.ndjson", gharvest_kibana::kibana()),
        ("opensearch-dashboards.ndjson", gharvest_kibana::opensearch_dashboards()),
    ] {
        let path = folder.join(name);
        fs::write(&path, gharvest_kibana::ndjson(&objects)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
