//! A small walker of OpenAPI 3.0 schemas: required keys, unknown keys, types, enumerations.

use std::collections::BTreeSet;

use serde_json::Value;

/// The schemas of a description.
pub(crate) struct Schemas {
    description: Value,
}

impl Schemas {
    pub(crate) fn new(description: Value) -> Self {
        Self { description }
    }

    /// What is wrong with a value, each with the place of it.
    pub(crate) fn problems(&self, name: &str, value: &Value) -> Vec<String> {
        let schema = &self.description["components"]["schemas"][name];
        if schema.is_null() {
            return vec![format!("there is no schema {name}")];
        }
        let mut problems = Vec::new();
        self.walk(schema, value, "", &mut problems);
        problems
    }

    fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        while let Some(place) = schema["$ref"].as_str() {
            schema = self.description.pointer(&place[1..]).expect("references lead somewhere");
        }
        schema
    }

    fn walk(&self, schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if value.is_null() {
            if !self.takes_null(schema) {
                problems.push(format!("{place} is null"));
            }
            return;
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(branches) = schema[word].as_array() {
                self.any(branches, value, place, problems);
            }
        }
        if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
            problems.push(format!("{place} is {value}, not one of {allowed:?}"));
        }
        match schema["type"].as_str() {
            Some(kind) if !is(kind, value) => problems.push(format!("{place} is no {kind}")),
            _ => self.inside(schema, value, place, problems),
        }
    }

    /// The branch with the fewest problems speaks for all.
    fn any(&self, branches: &[Value], value: &Value, place: &str, problems: &mut Vec<String>) {
        let best = branches
            .iter()
            .map(|branch| {
                let mut found = Vec::new();
                self.walk(branch, value, place, &mut found);
                found
            })
            .min_by_key(Vec::len);
        problems.extend(best.into_iter().flatten());
    }

    fn takes_null(&self, schema: &Value) -> bool {
        let branches = ["anyOf", "oneOf", "allOf"].iter().filter_map(|word| schema[*word].as_array()).flatten();
        schema["nullable"] == true
            || schema["type"] == "null"
            || schema["enum"].as_array().is_some_and(|allowed| allowed.contains(&Value::Null))
            || (schema["type"].is_null()
                && schema["properties"].is_null()
                && schema["enum"].is_null()
                && branches.clone().count() == 0)
            || branches.into_iter().any(|branch| self.takes_null(self.resolve(branch)))
    }

    fn inside(&self, schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
        match value {
            Value::Array(list) => {
                for (index, element) in list.iter().enumerate() {
                    self.walk(&schema["items"], element, &format!("{place}/{index}"), problems);
                }
            }
            Value::Object(object) => {
                let mut known = BTreeSet::new();
                self.keys(schema, value, place, &mut known, problems);
                let closed = schema["properties"].is_object()
                    && schema["additionalProperties"].is_null()
                    && schema["anyOf"].is_null()
                    && schema["oneOf"].is_null();
                for key in object.keys().filter(|key| closed && !known.contains(*key)) {
                    problems.push(format!("{place}/{key} is not in the schema"));
                }
            }
            _ => {}
        }
    }

    fn keys(
        &self,
        schema: &Value,
        value: &Value,
        place: &str,
        known: &mut BTreeSet<String>,
        problems: &mut Vec<String>,
    ) {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.keys(self.resolve(part), value, place, known, problems);
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(key).is_none() {
                problems.push(format!("{place}/{key} is missing"));
            }
        }
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            known.insert(key.clone());
            if let Some(value) = value.get(key) {
                self.walk(inner, value, &format!("{place}/{key}"), problems);
            }
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}
