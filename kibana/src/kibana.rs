//! Saved objects for Kibana 8.9 and newer, in the dashboards' format of 8.7 that every later version migrates.
//!
//! Panels are Lens charts by value, so a dashboard needs nothing but its data views. What is a string of JSON inside
//! JSON, is so in Kibana's format.

use serde_json::{Map, Value, json};

use crate::description::{Dashboard, Figure, Index, Panel, Search, Shape, dashboards, searches};

/// All objects: data views, saved searches, dashboards.
pub fn kibana() -> Vec<Value> {
    let mut objects: Vec<_> = Index::ALL.into_iter().map(data_view).collect();
    objects.extend(searches().iter().map(search));
    objects.extend(dashboards().iter().map(dashboard));
    objects
}

fn object(kind: &str, id: &str, version: &str, attributes: &Value, references: &[Value]) -> Value {
    json!({
        "type": kind, "id": id, "attributes": attributes, "references": references,
        "managed": false, "coreMigrationVersion": "8.8.0", "typeMigrationVersion": version,
    })
}

fn data_view(index: Index) -> Value {
    let attributes = json!({
        "title": index.alias(), "name": index.title(), "timeFieldName": index.time_field(),
        "fields": "[]", "fieldAttrs": "{}", "fieldFormatMap": "{}", "runtimeFieldMap": "{}", "sourceFilters": "[]", "typeMeta": "{}",
    });
    object("index-pattern", index.alias(), "7.11.0", &attributes, &[])
}

fn search(search: &Search) -> Value {
    let (attributes, reference) = crate::search_attributes(search);
    object("search", search.id, "7.9.3", &attributes, &[reference])
}

fn reference(name: &str, index: Index) -> Value {
    json!({ "type": "index-pattern", "id": index.alias(), "name": name })
}

fn dashboard(dashboard: &Dashboard) -> Value {
    let panels: Vec<_> = dashboard.panels.iter().map(panel).collect();
    let references: Vec<_> = dashboard
        .panels
        .iter()
        .map(|panel| reference(&format!("{}:{}", panel.id, layer_reference(panel)), panel.index))
        .collect();
    let options = json!({ "useMargins": true, "syncColors": false, "syncCursor": true, "syncTooltips": false, "hidePanelTitles": false });
    let attributes = json!({
        "title": dashboard.title, "description": dashboard.description,
        "timeRestore": true, "timeFrom": dashboard.since, "timeTo": "now", "refreshInterval": { "pause": true, "value": 60000 },
        "optionsJSON": options.to_string(), "panelsJSON": Value::Array(panels).to_string(),
        "kibanaSavedObjectMeta": { "searchSourceJSON": json!({ "query": { "query": "", "language": "kuery" }, "filter": [] }).to_string() },
    });
    object("dashboard", dashboard.id, "8.7.0", &attributes, &references)
}

fn layer(panel: &Panel) -> String {
    format!("layer-{}", panel.id)
}

fn layer_reference(panel: &Panel) -> String {
    format!("indexpattern-datasource-layer-{}", layer(panel))
}

fn panel(panel: &Panel) -> Value {
    let [x, y, w, h] = panel.place;
    let columns = Columns::of(panel);
    let layer = layer(panel);
    let state = json!({
        "visualization": columns.visualization(panel, &layer),
        "query": { "query": kql(panel), "language": "kuery" },
        "filters": [],
        "datasourceStates": { "formBased": { "layers": { layer: {
            "columns": columns.definitions, "columnOrder": columns.order, "incompleteColumns": {},
        } } } },
        "internalReferences": [], "adHocDataViews": {},
    });
    let attributes = json!({
        "title": panel.title, "description": "", "type": "lens", "visualizationType": visualization_type(panel.shape),
        "references": [reference(&layer_reference(panel), panel.index)], "state": state,
    });
    json!({
        "version": "8.11.0", "type": "lens", "panelIndex": panel.id, "title": panel.title,
        "gridData": { "x": x, "y": y, "w": w, "h": h, "i": panel.id },
        "embeddableConfig": { "enhancements": {}, "attributes": attributes },
    })
}

fn kql(panel: &Panel) -> String {
    panel.filter.iter().map(|(field, value)| format!("{field}: \"{value}\"")).collect::<Vec<_>>().join(" and ")
}

fn visualization_type(shape: Shape) -> &'static str {
    match shape {
        Shape::Number => "lnsMetric",
        Shape::Over { .. } => "lnsXY",
        Shape::Table => "lnsDatatable",
        Shape::Donut => "lnsPie",
    }
}

/// The columns of a panel's one layer: buckets first, then figures.
struct Columns {
    definitions: Map<String, Value>,
    order: Vec<String>,
    split: Option<String>,
    over: Option<String>,
    figures: Vec<String>,
}

impl Columns {
    fn of(panel: &Panel) -> Self {
        let mut columns =
            Self { definitions: Map::new(), order: Vec::new(), split: None, over: None, figures: Vec::new() };
        let figure_ids: Vec<_> = (0..panel.figures.len()).map(|index| format!("figure{index}")).collect();
        if let Some(split) = &panel.split {
            let parameters = json!({
                "size": split.size, "orderBy": { "type": "column", "columnId": figure_ids[0] }, "orderDirection": "desc",
                "otherBucket": false, "missingBucket": false, "parentFormat": { "id": "terms" },
            });
            columns.split = Some(columns.add(
                "split",
                json!({
                    "label": split.field, "dataType": "string", "operationType": "terms", "isBucketed": true,
                    "scale": "ordinal", "sourceField": split.field, "params": parameters,
                }),
            ));
        }
        if let Some(parts) = &panel.parts {
            let filter = |(label, query)| json!({ "label": label, "input": { "query": query, "language": "kuery" } });
            let filters: Vec<_> = parts.queries().into_iter().map(filter).collect();
            columns.split = Some(columns.add(
                "split",
                json!({
                    "label": format!("{} or {}", parts.having, parts.lacking), "dataType": "string", "operationType": "filters",
                    "isBucketed": true, "scale": "ordinal", "params": { "filters": filters },
                }),
            ));
        }
        if let Shape::Over { field, interval } = panel.shape {
            let interval = match interval {
                "month" => "1M",
                "week" => "1w",
                "hour" => "1h",
                _ => "1d",
            };
            columns.over = Some(columns.add("over", json!({
                "label": field, "dataType": "date", "operationType": "date_histogram", "isBucketed": true,
                "scale": "interval", "sourceField": field, "params": { "interval": interval, "includeEmptyRows": true, "dropPartials": false },
            })));
        }
        for (id, figure) in figure_ids.iter().zip(&panel.figures) {
            columns.add(id, figure_column(figure));
        }
        columns.figures = figure_ids;
        columns
    }

    fn add(&mut self, id: &str, definition: Value) -> String {
        self.definitions.insert(id.to_owned(), definition);
        self.order.push(id.to_owned());
        id.to_owned()
    }

    fn visualization(&self, panel: &Panel, layer: &str) -> Value {
        match panel.shape {
            Shape::Number => json!({ "layerId": layer, "layerType": "data", "metricAccessor": self.figures[0] }),
            Shape::Over { .. } => json!({
                "legend": { "isVisible": true, "position": "right" }, "valueLabels": "hide", "preferredSeriesType": "line",
                "layers": [{
                    "layerId": layer, "layerType": "data", "seriesType": "line", "xAccessor": self.over,
                    "splitAccessor": self.split, "accessors": self.figures,
                }],
            }),
            Shape::Table => {
                let columns: Vec<_> = self.order.iter().map(|id| json!({ "columnId": id })).collect();
                json!({ "layerId": layer, "layerType": "data", "columns": columns })
            }
            Shape::Donut => json!({
                "shape": "donut",
                "layers": [{
                    "layerId": layer, "layerType": "data", "primaryGroups": [self.split], "metrics": self.figures,
                    "numberDisplay": "percent", "categoryDisplay": "default", "legendDisplay": "default",
                }],
            }),
        }
    }
}

fn figure_column(figure: &Figure) -> Value {
    let (operation, field, parameters) = match figure {
        Figure::Count => ("count", "___records___", None),
        Figure::Sum(field) => ("sum", *field, None),
        Figure::Median(field) => ("median", *field, None),
        Figure::Percentile(field, percent) => ("percentile", *field, Some(json!({ "percentile": percent }))),
        Figure::Distinct(field) => ("unique_count", *field, None),
        Figure::Most(field) => ("max", *field, None),
        Figure::Least(field) => ("min", *field, None),
    };
    let mut column = json!({
        "label": figure.label(), "dataType": "number", "operationType": operation, "isBucketed": false,
        "scale": "ratio", "sourceField": field,
    });
    if let Some(parameters) = parameters {
        column["params"] = parameters;
    }
    column
}
