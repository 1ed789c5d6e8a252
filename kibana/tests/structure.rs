//! The files are what the description says, and hold together as their formats want it.

use std::collections::{BTreeMap, BTreeSet};

use gharvest_kibana::{dashboards, kibana, ndjson, opensearch_dashboards, searches};
use serde_json::Value;

#[test]
fn the_files_are_up_to_date() {
    assert_eq!(include_str!("../kibana.ndjson"), ndjson(&kibana()), "run `cargo run -p gharvest-kibana`");
    assert_eq!(
        include_str!("../opensearch-dashboards.ndjson"),
        ndjson(&opensearch_dashboards()),
        "run `cargo run -p gharvest-kibana`"
    );
}

#[test]
fn every_reference_resolves_inside_its_file_and_ids_are_unique() {
    for objects in [kibana(), opensearch_dashboards()] {
        let mut known = BTreeSet::new();
        for object in &objects {
            assert!(known.insert((text(&object["type"]), text(&object["id"]))), "{} stands twice", object["id"]);
        }
        for reference in objects.iter().flat_map(|object| object["references"].as_array().unwrap()) {
            assert!(
                known.contains(&(text(&reference["type"]), text(&reference["id"]))),
                "{reference} is not in the file"
            );
        }
    }
}

#[test]
fn embedded_strings_are_json_and_their_references_are_named() {
    for object in kibana().iter().chain(&opensearch_dashboards()) {
        let names: BTreeSet<_> = object["references"].as_array().unwrap().iter().map(|r| text(&r["name"])).collect();
        let source = &object["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"];
        if source.is_null() {
            continue;
        }
        let source: Value = serde_json::from_str(&text(source)).unwrap();
        if let Some(name) = source["indexRefName"].as_str() {
            assert!(names.contains(name), "{} does not name {name}", object["id"]);
        }
    }
}

#[test]
fn every_panel_stands_on_the_page_of_dashboards() {
    let page = include_str!("../../_docs/dashboards.md");
    for dashboard in dashboards() {
        let title = dashboard.title.trim_start_matches("gharvest: ");
        assert!(page.contains(&format!("## {title}\n\n{}\n", dashboard.description)), "{title}");
        for panel in dashboard.panels {
            let row = page.lines().find(|line| line.starts_with(&format!("| {} | ", panel.title)));
            let row = row.unwrap_or_else(|| panic!("{title}: {} is missing", panel.title));
            assert!(row.contains(panel.index.alias()), "{row}");
            for field in panel.fields() {
                assert!(row.contains(&format!("`{field}`")), "{row} does not name {field}");
            }
        }
    }
}

/// Everything of a query that stands before a colon or a comparison.
fn fields_of(query: &str) -> Vec<&str> {
    let words: Vec<_> = query.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    words.iter().filter_map(|word| word.strip_suffix(':')).collect()
}

#[test]
fn every_saved_search_stands_on_the_page_and_shows_fields_of_its_index() {
    let page = include_str!("../../_docs/dashboards.md");
    let mut ids = BTreeSet::new();
    for search in searches() {
        assert!(ids.insert(search.id));
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {} | ", search.title.trim_start_matches("gharvest: "))));
        let row = row.unwrap_or_else(|| panic!("{} is missing", search.title));
        assert!(row.contains(&format!("`{}`", search.query)) && row.contains(search.index.alias()), "{row}");
        assert!(!fields_of(search.query).is_empty(), "{}", search.query);
        for objects in [kibana(), opensearch_dashboards()] {
            assert!(
                objects.iter().any(|object| object["type"] == "search" && object["id"] == search.id),
                "{}",
                search.id
            );
        }
    }
}

#[test]
fn panels_fit_the_grid_and_do_not_overlap() {
    for dashboard in dashboards() {
        let mut taken = BTreeMap::new();
        for panel in &dashboard.panels {
            let [x, y, w, h] = panel.place;
            assert!(w > 0 && h > 0 && x + w <= 48, "{} leaves the grid", panel.id);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert_eq!(taken.insert(cell, panel.id), None, "{} overlaps at {cell:?}", panel.id);
            }
        }
    }
}

#[test]
fn lens_panels_are_whole() {
    for board in kibana().iter().filter(|object| object["type"] == "dashboard") {
        let panels: Value = serde_json::from_str(&text(&board["attributes"]["panelsJSON"])).unwrap();
        for panel in panels.as_array().unwrap() {
            assert_eq!(panel["panelIndex"], panel["gridData"]["i"]);
            let attributes = &panel["embeddableConfig"]["attributes"];
            let (layer, columns) = attributes["state"]["datasourceStates"]["formBased"]["layers"]
                .as_object()
                .unwrap()
                .iter()
                .next()
                .unwrap();
            let known: BTreeSet<_> = columns["columns"].as_object().unwrap().keys().cloned().collect();
            let order: BTreeSet<_> = columns["columnOrder"].as_array().unwrap().iter().map(text).collect();
            assert_eq!(known, order, "{}", panel["title"]);
            let name = format!("indexpattern-datasource-layer-{layer}");
            assert_eq!(attributes["references"][0]["name"], name.as_str());
            let outer = format!("{}:{name}", text(&panel["panelIndex"]));
            assert!(
                board["references"].as_array().unwrap().iter().any(|reference| reference["name"] == outer.as_str())
            );
            assert_accessors(&attributes["state"]["visualization"], &known);
        }
    }
}

fn assert_accessors(value: &Value, known: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if ["metricAccessor", "xAccessor", "splitAccessor", "columnId"].contains(&name.as_str())
                    && !value.is_null()
                {
                    assert!(known.contains(&text(value)), "{name} {value} is no column");
                }
                if ["accessors", "primaryGroups", "metrics"].contains(&name.as_str()) {
                    assert!(
                        value.as_array().expect("a list").iter().all(|value| known.contains(&text(value))),
                        "{name} {value}"
                    );
                }
                assert_accessors(value, known);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| assert_accessors(value, known)),
        _ => {}
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}
