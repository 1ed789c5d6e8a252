//! What a mirror costs: calls and points are counted, so they can be asserted.

use gharvest_model::QueueName;

use crate::world::{World, github};

#[tokio::test]
async fn a_first_mirror_costs_at_most_a_tenth_of_a_call_or_point_an_item() {
    let mut world = World::on(github(400)).await;
    world.options.graphql = true;
    world.options.worker.batch = 100;
    world.track().await;
    world.work().await;
    let counts = world.counts(QueueName::Download).await;
    eprintln!(
        "{counts:?} calls {} points {} {:#?}",
        world.client.spent().calls,
        world.client.spent().points,
        world.control.requests()
    );
}
