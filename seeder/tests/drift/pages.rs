//! A list that fills its last page: what is added stands on a page that nobody knows of yet, and none that is known
//! changes.

use gharvest_github::PAGE;
use gharvest_github_simulator::Change;

use crate::world::{DAY, HOUR, Setting, World};

#[tokio::test]
async fn an_item_behind_a_full_last_page_is_found_in_a_day() {
    let mut world = World::mirrored(Setting { items: 125, ..Setting::default() }).await;
    let listed = world.control.truth_numbers(&world.name);
    for number in &listed[PAGE..] {
        world.control.change(&world.name, Change::DeleteItem { number: *number }).unwrap();
    }
    world.pass(0).await;
    world.pass(DAY + HOUR).await;
    let opened = Change::OpenIssue { title: "New".to_owned(), body: None };
    world.control.change(&world.name, opened).unwrap();
    let number = world.control.highest_number(&world.name);
    world.pass(DAY + HOUR).await;
    assert_eq!(world.archive.ledger(world.id).await.unwrap().highest(), number);
    assert!(world.is_healed(number).await);
}
