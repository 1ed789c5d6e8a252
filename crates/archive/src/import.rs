//! Import of a folder that github-metadata-backup wrote: `issues/{number}.json` and `pulls/{number}.json`.
