//! What a world is made of.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
};

use gharvest_model::RepositoryName;

use crate::{people::People, random::mix, recorded, repository::Repository, script::Plot, state::State};

/// The repositories that a [`Simulator`](crate::Simulator) serves, before it starts.
///
/// The same world is the same data, down to the last id.
#[derive(Debug, Clone)]
pub struct World {
    seed: u64,
    parts: Vec<(RepositoryName, Part)>,
}

#[derive(Debug, Clone)]
enum Part {
    Generated { items: u64 },
    Recorded { folder: PathBuf },
}

impl World {
    /// A world of one repository with exactly this many items, that looks like ten years of work.
    ///
    /// Numbers go somewhat higher than `items`, because deleted items and discussions use numbers too. Numbers 1 to 12
    /// are always items, number 1 an issue and 2 a pull request; number 5 has 130 comments, 7 the longest body.
    pub fn generated(seed: u64, repository: RepositoryName, items: u64) -> Self {
        Self { seed, parts: vec![(repository, Part::Generated { items })] }
    }

    /// A world of one recorded repository, in the layout of github-metadata-backup: `issues/N.json`, `pulls/N.json`.
    ///
    /// Numbers without a file answer by a fixed mix: 404 for those divisible by three, then 410 (deleted), then 301.
    pub fn recorded(folder: impl Into<PathBuf>, repository: RepositoryName) -> Self {
        Self { seed: 1, parts: vec![(repository, Part::Recorded { folder: folder.into() })] }
    }

    /// Adds the repositories of another world; this one's seed stays.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Adds a generated repository.
    #[must_use]
    pub fn and_generated(mut self, repository: RepositoryName, items: u64) -> Self {
        self.parts.push((repository, Part::Generated { items }));
        self
    }

    /// The names of its repositories, in the order they were added.
    pub fn repositories(&self) -> impl Iterator<Item = &RepositoryName> {
        self.parts.iter().map(|(name, _)| name)
    }

    pub(crate) fn build(self, api_url: String) -> io::Result<State> {
        let items: u64 = self.parts.iter().map(|(_, part)| part.items()).sum();
        let people = People::new(self.seed, (60 + items / 8).min(20_000));
        let ids: Vec<u64> = (0..self.parts.len() as u64).map(|ordinal| repository_id(self.seed, ordinal)).collect();
        let mut repositories = BTreeMap::new();
        let mut names = HashMap::new();
        for (ordinal, (name, part)) in self.parts.into_iter().enumerate() {
            let neighbour = ids[(ordinal + 1) % ids.len()];
            let made = match part {
                Part::Generated { items } => {
                    let plot = Plot::new(self.seed, ids[ordinal], neighbour, items);
                    Repository::generated((name.owner(), name.name()), ordinal as u64, plot, &people)
                }
                Part::Recorded { folder } => recorded::load(&folder, &name, ordinal as u64, self.seed)?,
            };
            names.insert(name.key(), made.id);
            repositories.insert(made.id, made);
        }
        Ok(State { api_url, seed: self.seed, people, repositories, names, changes: 0, shift: 0, frozen: None })
    }
}

impl Part {
    fn items(&self) -> u64 {
        match self {
            Self::Generated { items } => *items,
            Self::Recorded { .. } => 0,
        }
    }
}

fn repository_id(seed: u64, ordinal: u64) -> u64 {
    50_000_000 + ordinal * 1_000_000 + mix(seed, &[70, ordinal]) % 900_000
}
