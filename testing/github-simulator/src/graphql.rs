//! The GraphQL endpoint: prices queries as GitHub documents, and answers what a mirror asks for.
//!
//! Price: every connection costs as many requests as its parents have nodes at most; a hundredth of the sum, at least
//! one. Where a field may be an issue or a pull request, connections of both are counted.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use graphql_parser::query::{
    Definition, Document, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet, TypeCondition,
    Value as Argument, parse_query,
};
use serde_json::{Map, Value, json};

use crate::{
    fault::{GraphqlError, Withheld},
    graph::{NEWER_ISSUE_FIELDS, NODES, TIMELINE_TYPES, connection},
    limits::{Budget, Caller},
    objects::{seconds, time},
    repository::{Gone, Repository, Standing},
    routes::Reply,
    server::Shared,
    state::{Found, State},
};

/// The most nodes that a query may ask for.
const MOST_NODES: u64 = 500_000;

/// Connections, by name: without `first` or `last` only their count may be asked for.
const CONNECTIONS: &[&str] = &[
    "assignees",
    "comments",
    "commits",
    "discussions",
    "issues",
    "labels",
    "parents",
    "pullRequests",
    "reactors",
    "reviewRequests",
    "reviewThreads",
    "timelineItems",
    "userContentEdits",
];

type Query = Document<'static, String>;
type Set = SelectionSet<'static, String>;
type Asked = Field<'static, String>;
type Fragments<'a> = HashMap<&'a str, &'a FragmentDefinition<'static, String>>;

/// What is peculiar to one answer.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    /// The token sees no cross-references.
    pub(crate) blind: bool,
    /// The repositories that the caller is not shown.
    pub(crate) unseen: HashSet<u64>,
    /// What a fault keeps back, and what GitHub says of it.
    pub(crate) withheld: Option<(Withheld, GraphqlError)>,
}

/// Answers a POST to `/graphql`. The second part names what was wrong with the request.
pub(crate) fn answer(shared: &Shared, caller: &Caller, how: Answering, body: &[u8]) -> (Reply, Option<String>) {
    if *caller == Caller::Anonymous {
        let message = "This endpoint requires you to be authenticated.";
        return (Reply::error(401, message, "/guides/getting-started-with-the-rest-api"), None);
    }
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return (Reply::error(400, "Problems parsing JSON", ""), Some("the body is no JSON".to_owned()));
    };
    let text = request["query"].as_str().unwrap_or_default();
    let document = match parse_query::<String>(text) {
        Ok(document) => document.into_static(),
        Err(error) => return refused(&format!("Parse error: {error}"), None),
    };
    let empty = Map::new();
    let variables = request["variables"].as_object().unwrap_or(&empty);
    let Some((set, fragments)) = parts(&document) else {
        return refused("No operation named", None);
    };
    let (cost, nodes) = match price(set, &fragments, variables) {
        Ok(price) => price,
        Err((message, kind)) => return refused(&message, Some(kind)),
    };
    let budget = match charge(shared, caller, cost) {
        Ok(budget) => budget,
        Err(used_up) => return (used_up, None),
    };
    let state = shared.state.lock();
    let rate = json!({
        "__typename": "RateLimit",
        "cost": cost,
        "limit": budget.limit,
        "remaining": budget.remaining(),
        "used": budget.used,
        "resetAt": time(budget.reset as i64),
        "nodeCount": nodes,
    });
    let mut run = Run {
        shared,
        state: &state,
        fragments: &fragments,
        variables,
        rate,
        errors: Vec::new(),
        unknown: None,
        seen: RefCell::default(),
        how,
        work: 0,
    };
    let mut data = run.root(set);
    if let Some((Withheld::Everything, error)) = run.how.withheld {
        run.errors = vec![error.error()];
        data = Value::Null;
    }
    if shared.options.graphql_work.is_some_and(|most| run.work > most) {
        return (timed_out(), None);
    }
    run.reply(data)
}

/// Points and nodes of a query; or why GitHub refuses it, and the kind of that error.
fn price(
    set: &Set,
    fragments: &Fragments<'_>,
    variables: &Map<String, Value>,
) -> Result<(u64, u64), (String, &'static str)> {
    let mut price = Price { fragments, variables, requests: 0, nodes: 0, unbounded: None };
    price.count(set, 1);
    if let Some(field) = price.unbounded {
        let message =
            format!("You must provide a `first` or `last` value to properly paginate the `{field}` connection.");
        return Err((message, "MISSING_PAGINATION_BOUNDARIES"));
    }
    if price.nodes > MOST_NODES {
        let nodes = price.nodes;
        let message =
            format!("This query requests up to {nodes} possible nodes which exceeds the maximum limit of 500,000.");
        return Err((message, "MAX_NODE_LIMIT_EXCEEDED"));
    }
    Ok((((price.requests + 50) / 100).max(1), price.nodes))
}

/// Takes the points; or what GitHub says when there are not enough.
fn charge(shared: &Shared, caller: &Caller, cost: u64) -> Result<Budget, Reply> {
    let mut limits = shared.limits.lock();
    if limits.charge(caller, "graphql", cost, &shared.options) {
        return Ok(limits.budget(caller, "graphql", &shared.options));
    }
    let left = limits.budget(caller, "graphql", &shared.options);
    let wait = left.reset.saturating_sub(limits.now_ms() / 1_000);
    limits.exhaust(caller, "graphql", wait, &shared.options);
    limits.tell(caller, "graphql", left.reset * 1_000);
    let error = json!({"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 12345678."});
    Err(Reply::ok(json!({"errors": [error]})))
}

/// A query that GitHub refuses as a whole, which a careful client never sends.
fn refused(message: &str, kind: Option<&str>) -> (Reply, Option<String>) {
    let mut error = json!({"message": message});
    if let Some(kind) = kind {
        error["type"] = json!(kind);
    }
    (Reply::ok(json!({"errors": [error]})), Some(message.to_owned()))
}

/// The answer to a query that took more than ten seconds.
fn timed_out() -> Reply {
    Reply { status: 502, ..Reply::ok(json!({"data": null, "errors": [GraphqlError::WentWrong.error()]})) }
}

/// The name of the operation in a request's body; empty if it has none.
pub(crate) fn operation(body: &[u8]) -> String {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = request["query"].as_str().and_then(|text| text.strip_prefix("query "));
    named.and_then(|rest| rest.split(['(', '{']).next()).unwrap_or_default().trim().to_owned()
}

fn parts(document: &Query) -> Option<(&Set, Fragments<'_>)> {
    let mut fragments = HashMap::new();
    let mut set = None;
    for definition in &document.definitions {
        match definition {
            Definition::Fragment(fragment) => drop(fragments.insert(fragment.name.as_str(), fragment)),
            Definition::Operation(OperationDefinition::Query(query)) => set = Some(&query.selection_set),
            Definition::Operation(OperationDefinition::SelectionSet(plain)) => set = Some(plain),
            Definition::Operation(_) => {}
        }
    }
    Some((set?, fragments))
}

fn value_of(argument: &Argument<'static, String>, variables: &Map<String, Value>) -> Value {
    match argument {
        Argument::Variable(name) => variables.get(name).cloned().unwrap_or_default(),
        Argument::Int(number) => json!(number.as_i64()),
        Argument::Float(number) => json!(number),
        Argument::String(text) => json!(text),
        Argument::Enum(word) => json!(word),
        Argument::Boolean(yes) => json!(yes),
        Argument::Null => Value::Null,
        Argument::List(list) => list.iter().map(|one| value_of(one, variables)).collect(),
        Argument::Object(object) => {
            Value::Object(object.iter().map(|(key, one)| (key.clone(), value_of(one, variables))).collect())
        }
    }
}

fn argument(field: &Asked, name: &str, variables: &Map<String, Value>) -> Value {
    let found = field.arguments.iter().find(|(key, _)| *key == name);
    found.map_or(Value::Null, |(_, argument)| value_of(argument, variables))
}

/// Adds up what a query may touch.
struct Price<'a> {
    fragments: &'a Fragments<'a>,
    variables: &'a Map<String, Value>,
    requests: u64,
    nodes: u64,
    unbounded: Option<String>,
}

impl Price<'_> {
    fn count(&mut self, set: &Set, parents: u64) {
        for selection in &set.items {
            match selection {
                Selection::Field(field) => self.field(field, parents),
                Selection::InlineFragment(fragment) => self.count(&fragment.selection_set, parents),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()).copied() {
                        self.count(&fragment.selection_set, parents);
                    }
                }
            }
        }
    }

    fn field(&mut self, field: &Asked, parents: u64) {
        let bound = ["first", "last"].iter().find_map(|name| argument(field, name, self.variables).as_u64());
        let below = match bound {
            Some(bound) => {
                if !(1..=100).contains(&bound) {
                    self.unbounded = Some(field.name.to_owned());
                }
                self.requests += parents;
                self.nodes += parents * bound;
                parents * bound
            }
            None if CONNECTIONS.contains(&field.name.as_str()) => {
                let counts = field
                    .selection_set
                    .items
                    .iter()
                    .all(|selection| matches!(selection, Selection::Field(field) if field.name == "totalCount"));
                if !counts {
                    self.unbounded = Some(field.name.to_owned());
                }
                self.requests += parents;
                parents
            }
            None => parents,
        };
        self.count(&field.selection_set, below);
    }
}

/// Answers one query.
struct Run<'a> {
    shared: &'a Shared,
    state: &'a State,
    fragments: &'a Fragments<'a>,
    variables: &'a Map<String, Value>,
    rate: Value,
    errors: Vec<Value>,
    unknown: Option<String>,
    /// Items of this answer: many nodes asked for by id belong to the same one.
    seen: RefCell<HashMap<(u64, u64), Rc<Value>>>,
    how: Answering,
    /// Nodes gathered so far.
    work: usize,
}

impl<'a> Run<'a> {
    /// The fields that a selection takes from an object of this type, fragments opened.
    fn fields(&self, set: &'a Set, typename: &str, list: &mut Vec<&'a Asked>) {
        for selection in &set.items {
            match selection {
                Selection::Field(field) => list.push(field),
                Selection::InlineFragment(fragment) => {
                    if fragment.type_condition.as_ref().is_none_or(|TypeCondition::On(name)| fits(name, typename)) {
                        self.fields(&fragment.selection_set, typename, list);
                    }
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()).copied() {
                        let TypeCondition::On(name) = &fragment.type_condition;
                        if fits(name, typename) {
                            self.fields(&fragment.selection_set, typename, list);
                        }
                    }
                }
            }
        }
    }

    fn reply(self, data: Value) -> (Reply, Option<String>) {
        if let Some(field) = self.unknown {
            let error =
                json!({"message": format!("Field '{field}' doesn't exist"), "extensions": {"code": "undefinedField"}});
            return (Reply::ok(json!({"errors": [error]})), Some(format!("this simulator's GraphQL has no {field}")));
        }
        let mut body = json!({"data": data});
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        (Reply::ok(body), None)
    }

    fn root(&mut self, set: &'a Set) -> Value {
        let mut fields = Vec::new();
        self.fields(set, "Query", &mut fields);
        let mut data = json!({});
        for field in fields {
            let key = field.alias.as_deref().unwrap_or(&field.name);
            data[key] = match field.name.as_str() {
                "rateLimit" => {
                    let rate = self.rate.clone();
                    self.take(&rate, field, &[key])
                }
                "repository" => self.repository(field, key),
                "nodes" => self.nodes(field, key),
                "node" => {
                    let id = argument(field, "id", self.variables);
                    let node = self.node(id.as_str().unwrap_or_default());
                    self.take(&node, field, &[key])
                }
                "__type" => self.described(field, key),
                name => {
                    self.unknown = Some(name.to_owned());
                    Value::Null
                }
            };
        }
        data
    }

    fn described(&mut self, field: &'a Asked, key: &str) -> Value {
        if let Some((Withheld::Fields, error)) = self.how.withheld {
            return self.withhold(error, json!([key]));
        }
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let item_types = || TIMELINE_TYPES.iter().map(|name| json!({"name": upper_snake(name)})).collect::<Vec<_>>();
        let described = match argument(field, "name", self.variables).as_str() {
            Some(name @ "PullRequestTimelineItems") => json!({"name": name, "possibleTypes": named(TIMELINE_TYPES)}),
            Some(name @ "PullRequestTimelineItemsItemType") => json!({"name": name, "enumValues": item_types()}),
            Some(name @ "Issue") => json!({"name": name, "fields": named(NEWER_ISSUE_FIELDS)}),
            Some(name @ "MovedColumnsInProjectEvent") => json!({"name": name, "fields": named(&["projectCard"])}),
            Some(name @ "Repository") => json!({"name": name, "fields": named(&["discussion", "issueOrPullRequest"])}),
            _ => Value::Null,
        };
        self.take(&described, field, &[key])
    }

    /// Null, and why.
    fn withhold(&mut self, error: GraphqlError, path: Value) -> Value {
        let mut told = error.error();
        told["path"] = path;
        self.errors.push(told);
        Value::Null
    }

    /// What a fault says instead of showing this item, if one does.
    fn keeps_back(&self, number: u64) -> Option<GraphqlError> {
        match self.how.withheld {
            Some((Withheld::Items(every), error)) if number.is_multiple_of(every) => Some(error),
            _ => None,
        }
    }

    /// Takes the first entry of an item's first list away, if a fault does.
    fn keep_entries_back(&mut self, number: u64, item: &mut Value, path: &[&str]) {
        let Some((Withheld::Entries(every), error)) = self.how.withheld else { return };
        let lists = item.as_object_mut().filter(|_| number.is_multiple_of(every)).into_iter().flatten();
        let mut entries =
            lists.filter_map(|(key, list)| Some((key, list.get_mut("nodes")?.as_array_mut()?.first_mut()?)));
        if let Some((key, entry)) = entries.next() {
            *entry = self.withhold(error, json!([path[0], path[1], key, "nodes", 0]));
        }
    }

    fn not_found(&mut self, field: &Asked, path: Value, message: String) -> Value {
        self.errors.push(json!({
            "type": "NOT_FOUND",
            "path": path,
            "locations": [{"line": field.position.line, "column": field.position.column}],
            "message": message,
        }));
        Value::Null
    }

    /// Whether the caller is shown a repository, and what belongs to it.
    fn is_shown(&self, repository: &Repository) -> bool {
        repository.standing == Standing::Public && !self.how.unseen.contains(&repository.id)
    }

    fn repository(&mut self, field: &'a Asked, key: &str) -> Value {
        let state = self.state;
        let [owner, name] = ["owner", "name"].map(|name| argument(field, name, self.variables));
        let (owner, name) = (owner.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
        let found =
            state.find(owner, name).and_then(|(Found::Here(id) | Found::Moved(id))| state.repositories.get(&id));
        let Some(found) = found.filter(|found| self.is_shown(found)) else {
            let message = format!("Could not resolve to a Repository with the name '{owner}/{name}'.");
            return self.not_found(field, json!([key]), message);
        };
        if let Some((Withheld::Fields, error)) = self.how.withheld {
            return self.withhold(error, json!([key]));
        }
        let object = state.graph_repository(found);
        let mut fields = Vec::new();
        self.fields(&field.selection_set, "Repository", &mut fields);
        let mut shown = json!({});
        for inner in fields {
            let alias = inner.alias.as_deref().unwrap_or(&inner.name);
            shown[alias] = match inner.name.as_str() {
                "issueOrPullRequest" | "issue" | "pullRequest" => self.item(found, inner, &[key, alias]),
                "discussion" => self.discussion(found, inner, &[key, alias]),
                "issues" | "pullRequests" => self.items(found, inner),
                "discussions" => {
                    let gone = found.gone.iter().filter(|(_, gone)| **gone == Gone::Discussion);
                    let nodes = gone.map(|(number, _)| json!({"__typename": "Discussion", "number": number}));
                    self.page(&connection(nodes.collect()), inner)
                }
                name => match object.get(name) {
                    Some(value) => self.value(&value.clone(), inner, &[key, alias]),
                    None => {
                        self.unknown = Some(format!("Repository.{name}"));
                        Value::Null
                    }
                },
            };
        }
        shown
    }

    fn item(&mut self, repository: &Repository, field: &'a Asked, path: &[&str]) -> Value {
        let number = argument(field, "number", self.variables).as_u64().unwrap_or(0);
        let object = self.graph(repository, number);
        let wanted = match field.name.as_str() {
            "issue" => "Issue",
            "pullRequest" => "PullRequest",
            _ => object["__typename"].as_str().unwrap_or("Issue"),
        };
        if object["__typename"] == wanted {
            if let Some(error) = self.keeps_back(number) {
                return self.withhold(error, json!(path));
            }
            let mut shown = self.take(&object, field, path);
            self.keep_entries_back(number, &mut shown, path);
            return shown;
        }
        let what = match field.name.as_str() {
            "issue" => "an Issue",
            "pullRequest" => "a PullRequest",
            _ => "an issue or pull request",
        };
        self.not_found(field, json!(path), format!("Could not resolve to {what} with the number of {number}."))
    }

    fn discussion(&mut self, repository: &Repository, field: &'a Asked, path: &[&str]) -> Value {
        let number = argument(field, "number", self.variables).as_u64().unwrap_or(0);
        if let Some(error) = self.keeps_back(number) {
            return self.withhold(error, json!(path));
        }
        if repository.gone.get(&number) == Some(&Gone::Discussion) {
            return self.take(&json!({"__typename": "Discussion", "number": number}), field, path);
        }
        self.not_found(field, json!(path), format!("Could not resolve to a Discussion with the number of {number}."))
    }

    /// An item as GraphQL's object, or null; its parts can be asked for by id from now on.
    fn graph(&self, repository: &Repository, number: u64) -> Rc<Value> {
        let key = (repository.id, number);
        if let Some(seen) = self.seen.borrow().get(&key) {
            return Rc::clone(seen);
        }
        let object = Rc::new(self.build(repository, number));
        self.seen.borrow_mut().insert(key, Rc::clone(&object));
        object
    }

    fn build(&self, repository: &Repository, number: u64) -> Value {
        let Some(thread) = repository.thread(&self.state.people, number) else { return Value::Null };
        let mut object = self.state.graph_item(repository, thread.into_owned());
        if self.how.blind
            && let Some(entries) = object["timelineItems"][NODES].as_array_mut()
        {
            entries.retain(|entry| entry["__typename"] != "CrossReferencedEvent");
        }
        let mut ids = self.shared.node_ids.lock();
        for node in std::iter::once(&object).chain(parts_of(&object)) {
            if let Some(id) = node["id"].as_str() {
                ids.insert(id.to_owned(), (repository.id, number));
            }
        }
        object
    }

    fn node(&self, id: &str) -> Value {
        let known = self.shared.node_ids.lock().get(id).copied();
        let Some((repository, number)) = known.or_else(|| self.find_node(id)) else { return Value::Null };
        let found = self.state.repositories.get(&repository).filter(|found| self.is_shown(found));
        let Some(found) = found else { return Value::Null };
        let object = self.graph(found, number);
        if object["id"] == id {
            return (*object).clone();
        }
        let part = parts_of(&object).find(|node| node["id"] == id).cloned();
        part.unwrap_or_else(|| self.state.graph_review_comment(found, number, id))
    }

    /// The item of a node that no answer has shown: all nodes are gathered once after each change.
    fn find_node(&self, id: &str) -> Option<(u64, u64)> {
        let mut gathered = self.shared.node_ids_at.lock();
        if *gathered == Some(self.state.changes) {
            return None;
        }
        *gathered = Some(self.state.changes);
        let mut ids = self.shared.node_ids.lock();
        for repository in self.state.repositories.values() {
            for number in repository.summaries.keys() {
                let Some(thread) = repository.thread(&self.state.people, *number) else { continue };
                let nodes = std::iter::once(&thread.issue).chain(&thread.timeline).chain(&thread.review_comments);
                let found = nodes.filter_map(|node| node["node_id"].as_str());
                ids.extend(found.map(|id| (id.to_owned(), (repository.id, *number))));
            }
        }
        ids.get(id).copied()
    }

    /// Nodes by id: those that an earlier answer showed.
    fn nodes(&mut self, field: &'a Asked, key: &str) -> Value {
        let ids = argument(field, "ids", self.variables);
        let ids: Vec<&str> = ids.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if ids.len() > 100 {
            self.errors
                .push(json!({"type": "ARGUMENT_LIMIT", "message": "You may not provide more than 100 node ids."}));
            return Value::Null;
        }
        let mut list = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let node = self.node(id);
            let number = self.shared.node_ids.lock().get(*id).map(|(_, number)| *number);
            list.push(if node.is_null() {
                let message = format!("Could not resolve to a node with the global id of '{id}'.");
                self.not_found(field, json!([key, place]), message)
            } else if let Some(error) = number.and_then(|number| self.keeps_back(number)) {
                self.withhold(error, json!([key, place]))
            } else {
                self.take(&node, field, &[key])
            });
        }
        Value::Array(list)
    }

    /// All issues or all pull requests, in the order asked for.
    fn items(&mut self, repository: &Repository, field: &'a Asked) -> Value {
        let pulls = field.name == "pullRequests";
        let order = argument(field, "orderBy", self.variables);
        let states = argument(field, "states", self.variables);
        let since = argument(field, "filterBy", self.variables)["since"].as_str().and_then(seconds);
        let mut list: Vec<(i64, u64)> = repository
            .summaries
            .iter()
            .filter(|(_, summary)| (summary.kind == gharvest_model::Kind::PullRequest) == pulls)
            .filter(|(_, summary)| since.is_none_or(|since| summary.updated >= since))
            .filter(|(_, summary)| match states.as_array() {
                Some(states) => states.contains(&json!("OPEN")) == summary.open,
                None => true,
            })
            .map(|(number, summary)| match order["field"].as_str() {
                Some("UPDATED_AT") => (summary.updated, *number),
                Some("COMMENTS") => (i64::from(summary.comments), *number),
                _ => (summary.created, *number),
            })
            .collect();
        list.sort_unstable();
        if order["direction"] == "DESC" {
            list.reverse();
        }
        // Only the page asked for is built; the rest stand in as numbers.
        let all: Vec<Value> = list.iter().map(|(_, number)| json!(number)).collect();
        let (start, end) = self.bounds(field, all.len());
        let nodes = all.iter().enumerate().map(|(place, number)| {
            let inside = (start..end).contains(&place);
            if inside { (*self.graph(repository, number.as_u64().unwrap_or(0))).clone() } else { Value::Null }
        });
        let connection = json!({"@nodes": nodes.collect::<Vec<_>>()});
        self.page(&connection, field)
    }

    /// An object's or a connection's value for a field.
    fn value(&mut self, value: &Value, field: &'a Asked, path: &[&str]) -> Value {
        match value {
            Value::Object(object) if object.contains_key(NODES) => self.page(value, field),
            Value::Object(_) => self.take(value, field, path),
            Value::Array(list) => list.iter().map(|one| self.value(one, field, path)).collect(),
            _ => value.clone(),
        }
    }

    /// What a field selects of an object.
    fn take(&mut self, object: &Value, field: &'a Asked, path: &[&str]) -> Value {
        if object.is_null() {
            return Value::Null;
        }
        let typename = object["__typename"].as_str().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        self.fields(&field.selection_set, &typename, &mut fields);
        let mut shown = json!({});
        for inner in fields {
            let key = inner.alias.as_deref().unwrap_or(&inner.name);
            match object.get(&inner.name) {
                Some(value) => {
                    let value = self.value(value, inner, path);
                    merge(&mut shown[key], value);
                }
                None => self.unknown = Some(format!("{typename}.{}", inner.name)),
            }
        }
        shown
    }

    /// Which part of a connection is asked for.
    fn bounds(&self, field: &Asked, length: usize) -> (usize, usize) {
        let number = |name: &str| argument(field, name, self.variables).as_u64().map(|number| number as usize);
        let place = |name: &str| argument(field, name, self.variables).as_str().and_then(place_of);
        let from = place("after").map_or(0, |place| place + 1).min(length);
        let to = place("before").unwrap_or(length).clamp(from, length);
        match (number("first"), number("last")) {
            (Some(first), _) => (from, (from + first).min(to)),
            (None, Some(last)) => (to.saturating_sub(last).max(from), to),
            (None, None) => (from, from),
        }
    }

    fn page(&mut self, connection: &Value, field: &'a Asked) -> Value {
        let all: Vec<Value> = self.of_types(connection, field);
        let (start, end) = self.bounds(field, all.len());
        let cursor = |place: usize| json!(STANDARD.encode(format!("cursor:v2:{place}")));
        let shown = &all[start..end];
        self.work += shown.len();
        let mut fields = Vec::new();
        self.fields(&field.selection_set, "Connection", &mut fields);
        let mut page = json!({});
        for inner in fields {
            let key = inner.alias.as_deref().unwrap_or(&inner.name);
            page[key] = match inner.name.as_str() {
                "totalCount" => connection
                    .get("totalCount")
                    .cloned()
                    .unwrap_or_else(|| json!(connection[NODES].as_array().map_or(0, Vec::len))),
                "filteredCount" => json!(all.len()),
                "updatedAt" => connection["updatedAt"].clone(),
                "nodes" => shown.iter().map(|node| self.value(node, inner, &[])).collect(),
                "pageInfo" => {
                    let edge = |place: usize| if shown.is_empty() { Value::Null } else { cursor(place) };
                    let info = json!({
                        "__typename": "PageInfo",
                        "hasNextPage": end < all.len(),
                        "hasPreviousPage": start > 0,
                        "startCursor": edge(start),
                        "endCursor": edge(end.saturating_sub(1)),
                    });
                    self.take(&info, inner, &[])
                }
                name => {
                    self.unknown = Some(format!("{}.{name}", field.name));
                    Value::Null
                }
            };
        }
        page
    }

    /// The nodes of a connection that `itemTypes` lets through.
    fn of_types(&self, connection: &Value, field: &Asked) -> Vec<Value> {
        let types = argument(field, "itemTypes", self.variables);
        let wanted = |node: &&Value| {
            types.as_array().is_none_or(|types| {
                types.contains(&json!(upper_snake(node["__typename"].as_str().unwrap_or_default())))
            })
        };
        connection[NODES].as_array().into_iter().flatten().filter(wanted).cloned().collect()
    }
}

/// What of an item can be asked for by id.
fn parts_of(object: &Value) -> impl Iterator<Item = &Value> {
    let entries = object["timelineItems"][NODES].as_array().into_iter().flatten();
    entries.flat_map(with_commit)
}

/// An entry, and the commit of which it tells everything; what other events say of a commit is not all of it.
fn with_commit(entry: &Value) -> impl Iterator<Item = &Value> {
    let commit = (entry["__typename"] == "PullRequestCommit").then(|| &entry["commit"]);
    std::iter::once(entry).chain(commit)
}

fn place_of(cursor: &str) -> Option<usize> {
    let plain = String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?;
    plain.strip_prefix("cursor:v2:")?.parse().ok()
}

/// `IssueComment` is `ISSUE_COMMENT`.
fn upper_snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

/// Whether an object of this type is meant by a fragment on that type.
fn fits(condition: &str, typename: &str) -> bool {
    let account = matches!(typename, "User" | "Bot" | "Organization" | "Mannequin");
    match condition {
        "Node" => typename != "PullRequestRevisionMarker",
        "Comment" => matches!(
            typename,
            "IssueComment" | "PullRequestReview" | "PullRequestReviewComment" | "Issue" | "PullRequest"
        ),
        "Actor" => account,
        "RequestedReviewer" => account || typename == "Team",
        "Reactable" => matches!(
            typename,
            "IssueComment" | "PullRequestReview" | "PullRequestReviewComment" | "Issue" | "PullRequest"
        ),
        "ReferencedSubject" => matches!(typename, "Issue" | "PullRequest"),
        _ => condition == typename,
    }
}

/// The same field may be selected twice, by two fragments: both selections count.
fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter_mut().zip(new).for_each(|(old, new)| merge(old, new));
        }
        (old, new) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(query: &str) -> (u64, u64) {
        let document = parse_query::<String>(query).unwrap().into_static();
        let (set, fragments) = parts(&document).unwrap();
        let variables = Map::new();
        let mut price = Price { fragments: &fragments, variables: &variables, requests: 0, nodes: 0, unbounded: None };
        price.count(set, 1);
        (price.requests, price.nodes)
    }

    #[test]
    fn queries_cost_what_github_documents() {
        let documented = "{viewer{repositories(first:100){edges{node{issues(first:50){edges{node{labels(first:60)\
            {nodes{id}}}}}}}}}}";
        assert_eq!(cost(documented).0, 5_101);
        let both = "{repository(owner:\"o\",name:\"n\"){issues(first:100){nodes{comments(first:100){nodes{id}} \
            timelineItems(first:100){nodes{id}}}}}}";
        assert_eq!(cost(both), (201, 20_100));
    }

    #[test]
    fn type_names_become_item_types() {
        assert_eq!(upper_snake("CrossReferencedEvent"), "CROSS_REFERENCED_EVENT");
    }
}
