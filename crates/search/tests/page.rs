//! The page about contracts.

use gharvest_search::contract::NAMES;
use gharvest_testkit::{behaviour_table, page_section};

#[test]
fn the_page_lists_every_behaviour() {
    page_section("contracts.md", "search", &behaviour_table(NAMES));
}
