//! The dashboards, described once, generated for Kibana (Lens, by value) and OpenSearch Dashboards (classic).
//!
//! `cargo run -p gharvest-kibana` writes `kibana/kibana.ndjson` and `kibana/opensearch-dashboards.ndjson`; a test
//! fails when they differ from what is described here. [`dashboards`] is the description, [`Panel::aggregation`] the
//! question a panel asks, so that its answer can be compared with figures computed from the archive.

mod description;
mod kibana;
mod opensearch;

pub use description::{Dashboard, Figure, Index, Panel, Parts, Search, Shape, Split, dashboards, searches};
pub use kibana::kibana;
pub use opensearch::opensearch_dashboards;

use serde_json::{Value, json};

/// A saved search's attributes, alike in both products, and what they refer to.
fn search_attributes(search: &Search) -> (Value, Value) {
    const INDEX: &str = "kibanaSavedObjectMeta.searchSourceJSON.index";
    let source =
        json!({ "query": { "query": search.query, "language": "kuery" }, "filter": [], "indexRefName": INDEX });
    let attributes = json!({
        "title": search.title, "description": search.description, "columns": search.columns, "sort": [[search.sort, "desc"]],
        "kibanaSavedObjectMeta": { "searchSourceJSON": source.to_string() },
    });
    (attributes, json!({ "type": "index-pattern", "id": search.index.alias(), "name": INDEX }))
}

/// A file of saved objects: one JSON object a line, in a stable order.
pub fn ndjson(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

impl Panel {
    /// The search request that answers the panel: what both products send for it.
    pub fn aggregation(&self) -> Value {
        let mut metrics = serde_json::Map::new();
        for (index, figure) in self.figures.iter().enumerate() {
            if let Some(aggregation) = figure.aggregation() {
                metrics.insert(format!("figure{index}"), aggregation);
            }
        }
        let mut inner = json!({ "aggs": metrics });
        if let Some(split) = &self.split {
            let mut terms = json!({ "field": split.field, "size": split.size });
            if let Figure::Sum(_) | Figure::Distinct(_) | Figure::Most(_) | Figure::Least(_) = self.figures[0] {
                terms["order"] = json!({ "figure0": "desc" });
            }
            inner = json!({ "aggs": { "split": { "terms": terms, "aggs": inner["aggs"] } } });
        }
        if let Some(parts) = &self.parts {
            let exists = json!({ "exists": { "field": parts.field } });
            let lacks = json!({ "bool": { "must_not": [exists] } });
            let filters = json!({ "filters": { parts.having: exists, parts.lacking: lacks } });
            inner = json!({ "aggs": { "parts": { "filters": filters, "aggs": inner["aggs"] } } });
        }
        if let Shape::Over { field, interval } = self.shape {
            let histogram = json!({ "field": field, "calendar_interval": interval, "min_doc_count": 1 });
            inner = json!({ "aggs": { "over": { "date_histogram": histogram, "aggs": inner["aggs"] } } });
        }
        let filter: Vec<_> = self.filter.iter().map(|(field, value)| json!({ "term": { *field: *value } })).collect();
        json!({ "size": 0, "track_total_hits": true, "query": { "bool": { "filter": filter } }, "aggs": inner["aggs"] })
    }

    /// Every field that the panel uses.
    pub fn fields(&self) -> Vec<&'static str> {
        let over = match self.shape {
            Shape::Over { field, .. } => Some(field),
            Shape::Number | Shape::Table | Shape::Donut => None,
        };
        let figures = self.figures.iter().filter_map(|figure| figure.field());
        let filter = self.filter.iter().map(|(field, _)| *field);
        let filter = filter.chain(self.parts.map(|parts| parts.field));
        self.split.iter().map(|split| split.field).chain(over).chain(figures).chain(filter).collect()
    }
}

impl Figure {
    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Count => None,
            Self::Sum(field) | Self::Median(field) | Self::Percentile(field, _) => Some(field),
            Self::Distinct(field) | Self::Most(field) | Self::Least(field) => Some(field),
        }
    }

    fn aggregation(&self) -> Option<Value> {
        Some(match self {
            Self::Count => return None,
            Self::Sum(field) => json!({ "sum": { "field": field } }),
            Self::Median(field) => json!({ "percentiles": { "field": field, "percents": [50] } }),
            Self::Percentile(field, percent) => json!({ "percentiles": { "field": field, "percents": [percent] } }),
            Self::Distinct(field) => json!({ "cardinality": { "field": field } }),
            Self::Most(field) => json!({ "max": { "field": field } }),
            Self::Least(field) => json!({ "min": { "field": field } }),
        })
    }

    fn label(&self) -> String {
        match self {
            Self::Count => "Count".to_owned(),
            Self::Sum(field) => format!("Sum of {field}"),
            Self::Median(field) => format!("Median of {field}"),
            Self::Percentile(field, percent) => format!("{percent}th percentile of {field}"),
            Self::Distinct(field) => format!("Distinct {field}"),
            Self::Most(field) => format!("Most of {field}"),
            Self::Least(field) => format!("Least of {field}"),
        }
    }
}
