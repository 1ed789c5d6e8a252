//! The page of contracts lists what the queue's contract holds.

use gharvest_queue::contract::NAMES;
use gharvest_testkit::{behaviour_table, page_section};

#[test]
fn the_page_of_contracts_lists_the_queues_behaviours() {
    let parts = NAMES.map(|(part, names)| format!("### {part}\n\n{}", behaviour_table(names)));
    page_section("contracts.md", "queue", &parts.join("\n"));
}
