//! Hooks and their logs of deliveries: what a receiver that was away can still read.

use serde_json::json;

use crate::{
    limits::Caller,
    routes::{Call, Reply},
    token::Token,
    webhook::{Delivery, HOOK, ORGANIZATION_HOOK},
};

/// Hooks are for those who administrate the repository: here, whoever has a token.
fn hook_id(call: &Call<'_>) -> Result<(), Reply> {
    let known = call.captured.first().is_none_or(|id| *id == HOOK.to_string());
    if *call.caller == Caller::Anonymous || !known { Err(Reply::not_found()) } else { Ok(()) }
}

pub(crate) fn list(call: &Call<'_>) -> Reply {
    if let Err(reply) = hook_id(call) {
        return reply;
    }
    let url = Token::Repository(call.repository().id, &format!("/hooks/{HOOK}")).text();
    call.paged(vec![json!({
        "type": "Repository",
        "id": HOOK,
        "name": "web",
        "active": true,
        "events": ["*"],
        "config": {"content_type": "json", "insecure_ssl": "0", "url": "http://127.0.0.1/webhooks/github"},
        "updated_at": "2026-10-01T00:00:00Z",
        "created_at": "2026-10-01T00:00:00Z",
        "url": url,
        "test_url": format!("{url}/test"),
        "ping_url": format!("{url}/pings"),
        "deliveries_url": format!("{url}/deliveries"),
        "last_response": {"code": null, "status": "unused", "message": null},
    })])
}

pub(crate) fn deliveries(call: &Call<'_>) -> Reply {
    if let Err(reply) = hook_id(call) {
        return reply;
    }
    let here = call.repository().id;
    page(call, |delivery| delivery.announcement.repository == here)
}

/// A page of the log, newest first.
fn page(call: &Call<'_>, is_shown: impl Fn(&Delivery) -> bool) -> Reply {
    let before: u64 = call.parameter("cursor").and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    let range = match call.parameter("status") {
        Some("success") => 200..400,
        Some("failure") => 400..600,
        _ => 0..u16::MAX,
    };
    let log = call.shared.webhooks.log();
    let mut list = log
        .iter()
        .filter(|delivery| is_shown(delivery) && delivery.id < before && range.contains(&delivery.status_code));
    let shown: Vec<_> = list.by_ref().take(call.per_page()).collect();
    let mut reply = Reply::ok(shown.iter().map(|delivery| delivery.item()).collect());
    if let (Some(last), Some(_)) = (shown.last(), list.next()) {
        let next = call.address(&[("cursor", last.id.to_string())]);
        reply.headers.push(("link", format!("<{next}>; rel=\"next\"")));
    }
    reply
}

pub(crate) fn delivery(call: &Call<'_>) -> Reply {
    if let Err(reply) = hook_id(call) {
        return reply;
    }
    full(call, call.number(1))
}

fn full(call: &Call<'_>, id: u64) -> Reply {
    let log = call.shared.webhooks.log();
    let found = log.iter().find(|delivery| delivery.id == id);
    let url = format!("{}/webhooks/github", call.state.api_url);
    found.map_or_else(Reply::not_found, |delivery| Reply::ok(delivery.full(&url)))
}

pub(crate) fn redeliver(call: &Call<'_>) -> Reply {
    if let Err(reply) = hook_id(call) {
        return reply;
    }
    if call.shared.webhooks.again(call.number(1), call.state.now()) {
        Reply { status: 202, body: json!({}), headers: Vec::new() }
    } else {
        Reply::not_found()
    }
}

/// An organisation's hook is for its owners: here, for whoever has a token and names the owner of something.
fn owned(call: &Call<'_>) -> Result<Vec<u64>, Reply> {
    let owner = call.captured.first().copied().unwrap_or_default();
    let owned = call.state.repositories.values().filter(|one| one.owner.eq_ignore_ascii_case(owner));
    let owned: Vec<u64> = owned.map(|one| one.id).collect();
    let is_shown = *call.caller != Caller::Anonymous && call.number(1) == ORGANIZATION_HOOK && !owned.is_empty();
    if is_shown { Ok(owned) } else { Err(Reply::not_found()) }
}

/// The log of an organisation's hook, of all that it owns.
pub(crate) fn organization_deliveries(call: &Call<'_>) -> Reply {
    match owned(call) {
        Ok(owned) => page(call, |delivery| owned.contains(&delivery.announcement.repository)),
        Err(reply) => reply,
    }
}

/// One delivery of an organisation's hook.
pub(crate) fn organization_delivery(call: &Call<'_>) -> Reply {
    match owned(call) {
        Ok(_) => full(call, call.number(2)),
        Err(reply) => reply,
    }
}

/// An App sees its own log, of all repositories.
pub(crate) fn app_deliveries(call: &Call<'_>) -> Reply {
    if *call.caller != Caller::App {
        return Reply::error(401, "A JSON web token could not be decoded", "/apps/webhooks");
    }
    page(call, |_| true)
}

/// One delivery of an App's hook.
pub(crate) fn app_delivery(call: &Call<'_>) -> Reply {
    if *call.caller != Caller::App {
        return Reply::error(401, "A JSON web token could not be decoded", "/apps/webhooks");
    }
    full(call, call.number(0))
}
