//! The page of contracts lists what the state's contract holds.

use gharvest_state::contract::NAMES;
use gharvest_testkit::{behaviour_table, page_section};

#[test]
fn the_page_of_contracts_lists_the_states_behaviours() {
    page_section("contracts.md", "state", &behaviour_table(NAMES));
}
