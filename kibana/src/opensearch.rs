//! Saved objects for OpenSearch Dashboards: classic visualizations, because it has no Lens.

use serde_json::{Value, json};

use crate::description::{Dashboard, Figure, Index, Panel, Search, Shape, dashboards, searches};

const INDEX_REFERENCE: &str = "kibanaSavedObjectMeta.searchSourceJSON.index";

/// All objects: index patterns, saved searches, visualizations, dashboards.
pub fn opensearch_dashboards() -> Vec<Value> {
    let mut objects: Vec<_> = Index::ALL.into_iter().map(index_pattern).collect();
    objects.extend(searches().iter().map(search));
    for dashboard in dashboards() {
        objects.extend(dashboard.panels.iter().map(|panel| visualization(&dashboard, panel)));
        objects.push(board(&dashboard));
    }
    objects
}

fn index_pattern(index: Index) -> Value {
    let attributes = json!({ "title": index.alias(), "timeFieldName": index.time_field() });
    json!({ "type": "index-pattern", "id": index.alias(), "attributes": attributes, "references": [] })
}

fn search(search: &Search) -> Value {
    let (mut attributes, reference) = crate::search_attributes(search);
    attributes["version"] = json!(1);
    json!({
        "type": "search", "id": search.id, "attributes": attributes, "references": [reference],
        "migrationVersion": { "search": "7.9.3" },
    })
}

fn visualization_id(dashboard: &Dashboard, panel: &Panel) -> String {
    format!("{}-{}", dashboard.id, panel.id)
}

fn visualization(dashboard: &Dashboard, panel: &Panel) -> Value {
    let kind = match panel.shape {
        Shape::Number => "metric",
        Shape::Over { .. } => "line",
        Shape::Table => "table",
        Shape::Donut => "pie",
    };
    let state =
        json!({ "title": panel.title, "type": kind, "params": parameters(panel, kind), "aggs": aggregations(panel) });
    let query =
        panel.filter.iter().map(|(field, value)| format!("{field}: \"{value}\"")).collect::<Vec<_>>().join(" and ");
    let source =
        json!({ "query": { "query": query, "language": "kuery" }, "filter": [], "indexRefName": INDEX_REFERENCE });
    let attributes = json!({
        "title": format!("{}: {}", dashboard.title, panel.title), "description": "", "version": 1, "uiStateJSON": "{}",
        "visState": state.to_string(), "kibanaSavedObjectMeta": { "searchSourceJSON": source.to_string() },
    });
    json!({
        "type": "visualization", "id": visualization_id(dashboard, panel), "attributes": attributes,
        "references": [{ "name": INDEX_REFERENCE, "type": "index-pattern", "id": panel.index.alias() }],
        "migrationVersion": { "visualization": "7.10.0" },
    })
}

fn parameters(panel: &Panel, kind: &str) -> Value {
    match panel.shape {
        Shape::Number => json!({ "addTooltip": true, "addLegend": false, "type": "metric" }),
        Shape::Table => json!({ "perPage": 25, "showPartialRows": false, "showTotal": false }),
        Shape::Donut => {
            json!({ "type": "pie", "addTooltip": true, "addLegend": true, "legendPosition": "right", "isDonut": true })
        }
        Shape::Over { .. } => {
            let series = panel.figures.iter().enumerate().map(|(index, figure)| {
                json!({ "show": true, "type": kind, "mode": "normal", "data": { "label": figure.label(), "id": figure_id(index) }, "valueAxis": "ValueAxis-1" })
            });
            json!({
                "type": kind, "addTooltip": true, "addLegend": true, "legendPosition": "right",
                "categoryAxes": [{ "id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": true, "scale": { "type": "linear" }, "labels": { "show": true, "truncate": 100 }, "title": {} }],
                "valueAxes": [{ "id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": true, "scale": { "type": "linear", "mode": "normal" }, "labels": { "show": true }, "title": { "text": "" } }],
                "seriesParams": series.collect::<Vec<_>>(),
            })
        }
    }
}

fn figure_id(index: usize) -> String {
    (index + 1).to_string()
}

fn aggregations(panel: &Panel) -> Vec<Value> {
    let mut aggregations: Vec<_> =
        panel.figures.iter().enumerate().map(|(index, figure)| figure_aggregation(index, figure)).collect();
    if let Shape::Over { field, interval } = panel.shape {
        let interval = &interval[..1];
        let interval = if interval == "m" { "M" } else { interval };
        aggregations.push(json!({
            "id": "over", "enabled": true, "type": "date_histogram", "schema": "segment",
            "params": { "field": field, "interval": interval, "min_doc_count": 1 },
        }));
    }
    let schema = match panel.shape {
        Shape::Over { .. } => "group",
        Shape::Table => "bucket",
        Shape::Number | Shape::Donut => "segment",
    };
    if let Some(parts) = &panel.parts {
        let filter = |(label, query)| json!({ "label": label, "input": { "query": query, "language": "kuery" } });
        let filters: Vec<_> = parts.queries().into_iter().map(filter).collect();
        aggregations.push(json!({
            "id": "split", "enabled": true, "type": "filters", "schema": schema, "params": { "filters": filters },
        }));
    }
    if let Some(split) = &panel.split {
        aggregations.push(json!({
            "id": "split", "enabled": true, "type": "terms", "schema": schema,
            "params": { "field": split.field, "size": split.size, "order": "desc", "orderBy": "1" },
        }));
    }
    aggregations
}

fn figure_aggregation(index: usize, figure: &Figure) -> Value {
    let (kind, parameters) = match figure {
        Figure::Count => ("count", json!({})),
        Figure::Sum(field) => ("sum", json!({ "field": field })),
        Figure::Median(field) => ("median", json!({ "field": field })),
        Figure::Percentile(field, percent) => ("percentiles", json!({ "field": field, "percents": [percent] })),
        Figure::Distinct(field) => ("cardinality", json!({ "field": field })),
        Figure::Most(field) => ("max", json!({ "field": field })),
        Figure::Least(field) => ("min", json!({ "field": field })),
    };
    json!({ "id": figure_id(index), "enabled": true, "type": kind, "schema": "metric", "params": parameters })
}

fn board(dashboard: &Dashboard) -> Value {
    let panels = dashboard.panels.iter().enumerate().map(|(index, panel)| {
        let [x, y, w, h] = panel.place;
        json!({
            "version": "7.9.3", "panelIndex": panel.id, "gridData": { "x": x, "y": y, "w": w, "h": h, "i": panel.id },
            "embeddableConfig": {}, "panelRefName": format!("panel_{index}"),
        })
    });
    let references = dashboard.panels.iter().enumerate().map(|(index, panel)| {
        json!({ "name": format!("panel_{index}"), "type": "visualization", "id": visualization_id(dashboard, panel) })
    });
    let attributes = json!({
        "title": dashboard.title, "description": dashboard.description, "hits": 0, "version": 1,
        "timeRestore": true, "timeFrom": dashboard.since, "timeTo": "now",
        "optionsJSON": json!({ "hidePanelTitles": false, "useMargins": true }).to_string(),
        "panelsJSON": Value::Array(panels.collect()).to_string(),
        "kibanaSavedObjectMeta": { "searchSourceJSON": json!({ "query": { "query": "", "language": "kuery" }, "filter": [] }).to_string() },
    });
    json!({
        "type": "dashboard", "id": dashboard.id, "attributes": attributes, "references": references.collect::<Vec<_>>(),
        "migrationVersion": { "dashboard": "7.9.3" },
    })
}
