//! One tantivy index holds every document. A field is set only on documents of the kinds that it is named for, so a
//! condition on an item's field needs no other filter.
//!
//! Items carry all that is searched: their keywords, numbers and times, the text of their comments, and their spans
//! (what was true from when to when, as a hash and two times beside each other). So every condition is answered
//! within one document, and a search is one pass over items. The documents of comments are searched only to find the
//! best one for a snippet. Everything is stored once more as the JSON it was given as.

use gharvest_model::{ItemId, RepositoryId};
use gharvest_search::{
    document::{
        CommentDocument, DailyDocument, IntervalDocument, ItemDocument, ReleaseDocument, RepositoryDocument,
        ThreadDocuments,
    },
    marks::exact_title,
    query::{
        fields,
        tree::{Flag, Keyword, Number, Time},
    },
};
use jiff::Timestamp;
use serde::Serialize;
use tantivy::{
    TantivyDocument, Term,
    schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions},
};

use crate::tokenizer::{IDENTIFIERS, WORDS};

/// The version of this schema: one more with each change that asks for a rebuild.
pub(crate) const MAPPING: u32 = 3;

/// Kinds of documents, as in the field `kind_of_document`.
pub(crate) mod kind {
    pub(crate) const ITEM: &str = "item";
    pub(crate) const TOMBSTONE: &str = "tombstone";
    pub(crate) const COMMENT: &str = "comment";
    pub(crate) const EVENT: &str = "event";
    pub(crate) const INTERVAL: &str = "interval";
    pub(crate) const DAILY: &str = "daily";
    pub(crate) const REPOSITORY: &str = "repository";
    pub(crate) const RELEASE: &str = "release";
    /// Carries the version of a repository's releases, which are replaced as a whole.
    pub(crate) const RELEASES: &str = "releases";
}

/// The longest keyword that is indexed, in bytes; longer ones can be read but not asked for.
const LONGEST_KEYWORD: usize = 1024;

/// The fields of the index.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) schema: Schema,
    pub(crate) kind: Field,
    pub(crate) key: Field,
    pub(crate) item: Field,
    pub(crate) repository_id: Field,
    pub(crate) version: Field,
    pub(crate) digest: Field,
    pub(crate) json: Field,
    pub(crate) group: Field,
    pub(crate) visibility: Field,
    pub(crate) flags: Field,
    pub(crate) title: Field,
    pub(crate) title_identifiers: Field,
    pub(crate) title_exact: Field,
    pub(crate) body: Field,
    pub(crate) body_identifiers: Field,
    pub(crate) comments: Field,
    pub(crate) comments_identifiers: Field,
    pub(crate) comment_words: Field,
    pub(crate) number_text: Field,
    keywords: Vec<Field>,
    numbers: Vec<Field>,
    times: Vec<Field>,
    pub(crate) spans: Field,
    pub(crate) span_hash: Field,
    pub(crate) span_from: Field,
    pub(crate) span_to: Field,
}

/// Keyword fields whose values are counted for facets.
pub(crate) const COUNTED: [Keyword; 6] =
    [Keyword::Repository, Keyword::Kind, Keyword::State, Keyword::Label, Keyword::Author, Keyword::Milestone];

fn text(tokenizer: &str, option: IndexRecordOption, norms: bool) -> TextOptions {
    let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(option).set_fieldnorms(norms);
    TextOptions::default().set_indexing_options(indexing)
}

impl Fields {
    pub(crate) fn new() -> Self {
        let mut builder = Schema::builder();
        let positions = text(WORDS, IndexRecordOption::WithFreqsAndPositions, true);
        let identifiers = text(IDENTIFIERS, IndexRecordOption::Basic, false);
        let kind = builder.add_text_field("kind_of_document", STRING);
        let key = builder.add_text_field("key", STRING);
        let item = builder.add_u64_field("item", INDEXED | FAST);
        let repository_id = builder.add_u64_field("repository_id", INDEXED);
        let version = builder.add_u64_field("version", FAST);
        let digest = builder.add_text_field("digest", STORED);
        let json = builder.add_text_field("json", STORED);
        let group = builder.add_text_field("group", STRING);
        let visibility = builder.add_text_field("visibility", STRING);
        let flags = builder.add_text_field("flags", STRING);
        let title = builder.add_text_field("title", positions.clone());
        let title_identifiers = builder.add_text_field("title_identifiers", identifiers.clone());
        let title_exact = builder.add_text_field("title_exact", STRING);
        let body = builder.add_text_field("body", positions.clone());
        let body_identifiers = builder.add_text_field("body_identifiers", identifiers.clone());
        let comments = builder.add_text_field("comments", positions);
        let comments_identifiers = builder.add_text_field("comments_identifiers", identifiers);
        let comment_words = builder.add_text_field("comment_words", text(WORDS, IndexRecordOption::WithFreqs, true));
        let number_text = builder.add_text_field("number_text", STRING);
        let keywords = Keyword::ALL.map(|keyword| builder.add_text_field(&format!("keyword_{keyword:?}"), STRING));
        for keyword in COUNTED {
            builder.add_text_field(&counted_name(keyword), TextOptions::default().set_fast("raw"));
        }
        let numbers = Number::ALL.map(|number| builder.add_f64_field(&number_name(number), FAST));
        let times = Time::ALL.map(|time| builder.add_i64_field(&time_name(time), FAST));
        let spans = builder.add_text_field("spans", STRING);
        let span_hash = builder.add_u64_field("span_hash", FAST);
        let span_from = builder.add_i64_field("span_from", FAST);
        let span_to = builder.add_i64_field("span_to", FAST);
        Self {
            schema: builder.build(),
            kind,
            key,
            item,
            repository_id,
            version,
            digest,
            json,
            group,
            visibility,
            flags,
            title,
            title_identifiers,
            title_exact,
            body,
            body_identifiers,
            comments,
            comments_identifiers,
            comment_words,
            number_text,
            keywords: keywords.to_vec(),
            numbers: numbers.to_vec(),
            times: times.to_vec(),
            spans,
            span_hash,
            span_from,
            span_to,
        }
    }

    pub(crate) fn keyword(&self, keyword: Keyword) -> Field {
        let position = Keyword::ALL.iter().position(|known| *known == keyword);
        self.keywords[position.expect("ALL holds every keyword")]
    }

    pub(crate) fn number(&self, number: Number) -> Field {
        let position = Number::ALL.iter().position(|known| *known == number);
        self.numbers[position.expect("ALL holds every number")]
    }

    pub(crate) fn time(&self, time: Time) -> Field {
        let position = Time::ALL.iter().position(|known| *known == time);
        self.times[position.expect("ALL holds every time")]
    }

    pub(crate) fn kind_term(&self, kind: &str) -> Term {
        Term::from_field_text(self.kind, kind)
    }

    pub(crate) fn item_term(&self, item: u64) -> Term {
        Term::from_field_u64(self.item, item)
    }
}

/// The column of a counted keyword's values, as they are spelled.
pub(crate) fn counted_name(keyword: Keyword) -> String {
    format!("counted_{keyword:?}")
}

/// The column of a number.
pub(crate) fn number_name(number: Number) -> String {
    format!("number_{number:?}")
}

/// The column of a time, in microseconds since 1970.
pub(crate) fn time_name(time: Time) -> String {
    format!("time_{time:?}")
}

/// The term of a set flag.
pub(crate) fn flag_term(flag: Flag) -> &'static str {
    match flag {
        Flag::Draft => "draft",
        Flag::Locked => "locked",
        Flag::Private => "private",
        Flag::Archived => "archived",
        Flag::Linked => "linked",
    }
}

/// The term, among flags, of an item that has any value of a keyword.
pub(crate) fn any_term(keyword: Keyword) -> String {
    format!("any_{keyword:?}")
}

/// Who may see an item: everybody, or who may read its repository.
pub(crate) fn private_term(repository: RepositoryId) -> String {
    format!("private:{repository}")
}

/// The term of what everybody may see.
pub(crate) const PUBLIC: &str = "public";

/// Bits of a number in an item's ordinal; GitHub's highest numbers have 20.
const NUMBER_BITS: u32 = 28;

/// An item as one number, in the order of repository ids and numbers. None beyond 2^36 repositories or 2^28 items.
pub(crate) fn ordinal(item: ItemId) -> Option<u64> {
    let fits = item.repository.0 < 1 << (64 - NUMBER_BITS) && item.number < 1 << NUMBER_BITS;
    fits.then_some((item.repository.0 << NUMBER_BITS) | item.number)
}

/// The number in an ordinal.
pub(crate) fn number_of(ordinal: u64) -> u64 {
    ordinal & ((1 << NUMBER_BITS) - 1)
}

/// The term of something that held at some time.
pub(crate) fn span_term(dimension: &str, value: &str) -> String {
    format!("{dimension}\u{1f}{value}")
}

/// The hash of a span's term, beside its times: FNV-1a, which stays the same in every build.
pub(crate) fn span_hash(term: &str) -> u64 {
    term.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Builds tantivy's documents from ours.
pub(crate) struct Builder<'a> {
    pub(crate) fields: &'a Fields,
}

impl Builder<'_> {
    fn document(&self, kind: &str, key: &str, repository: RepositoryId, stored: &impl Serialize) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_text(self.fields.kind, kind);
        document.add_text(self.fields.key, key);
        document.add_u64(self.fields.repository_id, repository.0);
        let json = serde_json::to_string(stored).expect("documents have text keys only");
        document.add_text(self.fields.json, json);
        document
    }

    fn keyword(&self, document: &mut TantivyDocument, field: Field, value: &str) {
        if value.len() <= LONGEST_KEYWORD {
            document.add_text(field, value);
        }
    }

    /// All documents of a thread; the item's first.
    pub(crate) fn thread(&self, ordinal: u64, thread: &ThreadDocuments) -> Vec<TantivyDocument> {
        let item = &thread.item;
        let repository = item.repository_id;
        let kind = if item.deleted { kind::TOMBSTONE } else { kind::ITEM };
        let mut head = self.document(kind, &item.key, repository, item);
        head.add_u64(self.fields.version, thread.version.0);
        head.add_text(self.fields.digest, &thread.digest);
        if !item.deleted {
            self.item(&mut head, item);
            self.texts(&mut head, item, &thread.comments);
            self.spans(&mut head, &thread.intervals);
        }
        let mut documents = vec![head];
        for comment in &thread.comments {
            let mut document = self.document(kind::COMMENT, &comment.key, repository, comment);
            if !item.deleted {
                document.add_text(self.fields.comment_words, &comment.body);
            }
            documents.push(document);
        }
        documents.extend(thread.events.iter().map(|event| self.document(kind::EVENT, &event.key, repository, event)));
        let intervals = thread.intervals.iter();
        documents.extend(intervals.map(|span| self.document(kind::INTERVAL, &span.key, repository, span)));
        for document in &mut documents {
            document.add_u64(self.fields.item, ordinal);
        }
        documents
    }

    fn item(&self, document: &mut TantivyDocument, item: &ItemDocument) {
        let visibility = if item.private { private_term(item.repository_id) } else { PUBLIC.to_owned() };
        document.add_text(self.fields.visibility, visibility);
        document.add_text(self.fields.number_text, item.number.to_string());
        for keyword in Keyword::ALL {
            let values = fields::keywords(item, keyword);
            if !values.is_empty() {
                document.add_text(self.fields.flags, any_term(keyword));
            }
            for value in values {
                self.keyword(document, self.fields.keyword(keyword), &value.to_lowercase());
                if COUNTED.contains(&keyword) {
                    let counted = self.fields.schema.get_field(&counted_name(keyword));
                    self.keyword(document, counted.expect("counted keywords have a column"), &value);
                }
            }
        }
        for flag in Flag::ALL.into_iter().filter(|flag| fields::flag(item, *flag)) {
            document.add_text(self.fields.flags, flag_term(flag));
        }
        for number in Number::ALL {
            if let Some(value) = fields::number(item, number) {
                document.add_f64(self.fields.number(number), value);
            }
        }
        for time in Time::ALL {
            if let Some(at) = fields::time(item, time) {
                document.add_i64(self.fields.time(time), at.as_microsecond());
            }
        }
    }

    fn texts(&self, document: &mut TantivyDocument, item: &ItemDocument, comments: &[CommentDocument]) {
        document.add_text(self.fields.title, &item.title);
        document.add_text(self.fields.title_identifiers, &item.title);
        self.keyword(document, self.fields.title_exact, &exact_title(&item.title));
        document.add_text(self.fields.body, &item.body);
        document.add_text(self.fields.body_identifiers, &item.body);
        for comment in comments {
            document.add_text(self.fields.comments, &comment.body);
            document.add_text(self.fields.comments_identifiers, &comment.body);
        }
    }

    /// Each name of an interval's value, with its times; the three columns stand beside each other.
    fn spans(&self, document: &mut TantivyDocument, intervals: &[IntervalDocument]) {
        for interval in intervals {
            let value = interval.value.to_lowercase();
            let now = interval.value_now.as_ref().map(|now| now.to_lowercase()).filter(|now| *now != value);
            for name in std::iter::once(value).chain(now) {
                let term = span_term(&interval.dimension, &name);
                self.keyword(document, self.fields.spans, &term);
                document.add_u64(self.fields.span_hash, span_hash(&term));
                document.add_i64(self.fields.span_from, interval.from.as_microsecond());
                let to = interval.to.unwrap_or(Timestamp::MAX);
                document.add_i64(self.fields.span_to, to.as_microsecond());
            }
        }
    }

    pub(crate) fn repository(&self, repository: &RepositoryDocument) -> TantivyDocument {
        let key = repository_key(repository.repository_id);
        let mut document = self.document(kind::REPOSITORY, &key, repository.repository_id, repository);
        document.add_u64(self.fields.version, repository.version);
        document
    }

    pub(crate) fn release(&self, release: &ReleaseDocument) -> TantivyDocument {
        let mut document = self.document(kind::RELEASE, &release.key, release.repository_id, release);
        document.add_text(self.fields.group, releases_group(release.repository_id));
        document
    }

    /// The document that carries the version of a repository's releases.
    pub(crate) fn releases(&self, repository: RepositoryId, version: u64) -> TantivyDocument {
        let key = releases_group(repository);
        let mut document = self.document(kind::RELEASES, &key, repository, &version);
        document.add_u64(self.fields.version, version);
        document.add_text(self.fields.group, key);
        document
    }

    pub(crate) fn daily(&self, daily: &DailyDocument) -> TantivyDocument {
        let mut document = self.document(kind::DAILY, &daily.key, daily.repository_id, daily);
        document.add_u64(self.fields.version, daily.version);
        document.add_text(self.fields.group, daily_group(daily.repository_id));
        document.add_text(self.fields.group, daily_dimension(daily.repository_id, &daily.dimension, None));
        let with_value = daily_dimension(daily.repository_id, &daily.dimension, Some(&daily.value));
        self.keyword(&mut document, self.fields.group, &with_value);
        document
    }
}

/// The key of a repository's document.
pub(crate) fn repository_key(repository: RepositoryId) -> String {
    repository.to_string()
}

/// The group of a repository's releases.
pub(crate) fn releases_group(repository: RepositoryId) -> String {
    format!("{repository}:r")
}

/// The group of a repository's daily counts.
pub(crate) fn daily_group(repository: RepositoryId) -> String {
    format!("{repository}:d")
}

/// The group of a repository's daily counts of one dimension, or one value of it.
pub(crate) fn daily_dimension(repository: RepositoryId, dimension: &str, value: Option<&str>) -> String {
    match value {
        None => format!("{repository}:d:{dimension}"),
        Some(value) => format!("{repository}:d:{dimension}:{value}"),
    }
}
