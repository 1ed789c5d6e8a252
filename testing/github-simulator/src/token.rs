//! Placeholders inside stored documents, for everything that may change without the document changing.
//!
//! A document keeps a string of U+0001, a letter, ids and `;` where GitHub shows an address, a person, a label, a
//! milestone, a repository or another item. They are filled in when the document is served: so renaming a repository,
//! a person or a label changes no document, as on GitHub, and cross references show the other item as it is now.

pub(crate) const MARK: char = '\u{1}';

/// What stands for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// `{api}{rest}`
    Api(&'a str),
    /// `{web}{rest}`
    Web(&'a str),
    /// `{api}/repos/{full name}{rest}`
    Repository(u64, &'a str),
    /// `{web}/{full name}{rest}`
    RepositoryPage(u64, &'a str),
    /// `{full name}{rest}`
    FullName(u64, &'a str),
    /// A person's object, by id.
    User(u64),
    /// A person's login and more, as in the label of a branch.
    Login(u64, &'a str),
    /// The account that owns a repository: its object, or with a rest its login and the rest.
    Owner(u64, &'a str),
    /// A label's object: repository and label id.
    Label(u64, u64),
    /// A milestone's object: repository and number.
    Milestone(u64, u64),
    /// A repository's object as it stands inside a pull request.
    RepositoryObject(u64),
    /// A repository's shortest object, as related issues carry it.
    SimpleRepository(u64),
    /// A person's fork: repository and user id.
    Fork(u64, u64),
    /// Another item's issue object as it is now: repository and number.
    Issue(u64, u64),
}

impl Token<'_> {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Api(rest) => format!("{MARK}A0;{rest}"),
            Self::Web(rest) => format!("{MARK}H0;{rest}"),
            Self::Repository(id, rest) => format!("{MARK}R{id};{rest}"),
            Self::RepositoryPage(id, rest) => format!("{MARK}W{id};{rest}"),
            Self::FullName(id, rest) => format!("{MARK}N{id};{rest}"),
            Self::User(id) => format!("{MARK}U{id};"),
            Self::Login(id, rest) => format!("{MARK}G{id};{rest}"),
            Self::Owner(repository, rest) => format!("{MARK}O{repository};{rest}"),
            Self::Label(repository, id) => format!("{MARK}L{repository}:{id};"),
            Self::Milestone(repository, number) => format!("{MARK}M{repository}:{number};"),
            Self::RepositoryObject(id) => format!("{MARK}P{id};"),
            Self::SimpleRepository(id) => format!("{MARK}S{id};"),
            Self::Fork(repository, user) => format!("{MARK}F{repository}:{user};"),
            Self::Issue(repository, number) => format!("{MARK}X{repository}:{number};"),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Token<'_>> {
        let text = text.strip_prefix(MARK)?;
        let letter = text.chars().next()?;
        let (ids, rest) = text.get(1..)?.split_once(';')?;
        let (first, second) = ids.split_once(':').unwrap_or((ids, "0"));
        let (first, second) = (first.parse().ok()?, second.parse().ok()?);
        Some(match letter {
            'A' => Token::Api(rest),
            'H' => Token::Web(rest),
            'R' => Token::Repository(first, rest),
            'W' => Token::RepositoryPage(first, rest),
            'N' => Token::FullName(first, rest),
            'U' => Token::User(first),
            'G' => Token::Login(first, rest),
            'O' => Token::Owner(first, rest),
            'L' => Token::Label(first, second),
            'M' => Token::Milestone(first, second),
            'P' => Token::RepositoryObject(first),
            'S' => Token::SimpleRepository(first),
            'F' => Token::Fork(first, second),
            'X' => Token::Issue(first, second),
            _ => return None,
        })
    }
}
