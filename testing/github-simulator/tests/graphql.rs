//! The GraphQL endpoint as a client sees it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what they skip"
)]

use gharvest_github_simulator::{Change, Fault, GraphqlError, Options, Rule, Simulator, Token, Withheld, World};
use gharvest_model::RepositoryName;
use serde_json::{Value, json};

struct Setup {
    simulator: Simulator,
    repository: RepositoryName,
}

fn setup(options: Options) -> Setup {
    let repository: RepositoryName = "lumen/lumen".parse().unwrap();
    Setup { simulator: Simulator::start(World::generated(7, repository.clone(), 60), options).unwrap(), repository }
}

impl Setup {
    async fn ask(&self, query: &str, variables: Value) -> Value {
        let client = reqwest::Client::builder().user_agent("test").no_proxy().build().unwrap();
        let request = client.post(self.simulator.api_url() + "/graphql").bearer_auth("simulated-1");
        let response = request.json(&json!({"query": query, "variables": variables})).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-ratelimit-resource"], "graphql");
        response.json().await.unwrap()
    }
}

const TIMELINE: &str = "timelineItems(first:100,after:$after){totalCount pageInfo{hasNextPage endCursor} \
    nodes{__typename ...on Node{id} ...on IssueComment{body fullDatabaseId author{login}}}}";

#[tokio::test]
async fn a_batch_answers_what_is_there_and_says_what_is_not() {
    let setup = setup(Options::default());
    setup.simulator.control().change(&setup.repository, Change::DeleteItem { number: 3 }).unwrap();
    let query = format!(
        "query($after:String){{rateLimit{{cost remaining}} repository(owner:\"lumen\",name:\"lumen\"){{\
         i1:issue(number:1){{title}} i2:issueOrPullRequest(number:2){{__typename ...on PullRequest{{title {TIMELINE}}}}} \
         i3:issueOrPullRequest(number:3){{__typename}}}}}}"
    );
    let answer = setup.ask(&query, json!({})).await;
    let repository = &answer["data"]["repository"];
    assert_eq!(repository["i2"]["__typename"], "PullRequest");
    assert!(repository["i1"]["title"].is_string() && repository["i3"].is_null());
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!((&answer["errors"][0]["type"], &answer["errors"][0]["path"][1]), (&json!("NOT_FOUND"), &json!("i3")));
    assert_eq!(answer["data"]["rateLimit"], json!({"cost": 1, "remaining": 4_999}));
    assert!(setup.simulator.control().violations().is_empty());
}

#[tokio::test]
async fn pages_of_a_long_timeline_join_to_what_rest_shows() {
    let setup = setup(Options::default());
    let query =
        format!("query($after:String){{repository(owner:\"lumen\",name:\"lumen\"){{issue(number:5){{{TIMELINE}}}}}}}");
    let (mut after, mut ids, mut bodies) = (Value::Null, Vec::new(), 0);
    loop {
        let answer = setup.ask(&query, json!({"after": after})).await;
        let page = answer["data"]["repository"]["issue"]["timelineItems"].clone();
        for node in page["nodes"].as_array().unwrap() {
            ids.push(node["id"].as_str().unwrap().to_owned());
            bodies += usize::from(node["body"].is_string());
        }
        if page["pageInfo"]["hasNextPage"] == false {
            assert_eq!(page["totalCount"], ids.len());
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(bodies, 130);
    let answer = setup.ask("query($ids:[ID!]!){nodes(ids:$ids){__typename id}}", json!({"ids": &ids[..3]})).await;
    assert_eq!(answer["data"]["nodes"][2]["id"], ids[2]);
    assert!(setup.simulator.control().violations().is_empty());
}

#[tokio::test]
async fn a_used_up_budget_is_an_error_in_a_200() {
    let options = Options {
        graphql_limit: 1,
        tokens: vec![Token { value: "simulated-1".to_owned(), login: "mei".to_owned(), limit: 10 }],
        ..Options::default()
    };
    let setup = setup(options);
    let query = "{repository(owner:\"lumen\",name:\"lumen\"){id nameWithOwner}}";
    assert_eq!(setup.ask(query, json!({})).await["data"]["repository"]["nameWithOwner"], "lumen/lumen");
    assert_eq!(setup.ask(query, json!({})).await["errors"][0]["type"], "RATE_LIMITED");
}

#[tokio::test]
async fn what_the_schema_does_not_allow_is_refused() {
    let setup = setup(Options::default());
    for (query, kind) in [
        ("{repository(owner:\"lumen\",name:\"lumen\"){issues{nodes{id}}}}", "MISSING_PAGINATION_BOUNDARIES"),
        (
            "{repository(owner:\"lumen\",name:\"lumen\"){issues(first:100){nodes{timelineItems(first:100){nodes{\
             ...on PullRequestReview{comments(first:100){nodes{id}}}}}}}}}",
            "MAX_NODE_LIMIT_EXCEEDED",
        ),
    ] {
        assert_eq!(setup.ask(query, json!({})).await["errors"][0]["type"], kind, "{query}");
    }
    let answer = setup.ask("{repository(owner:\"lumen\",name:\"lumen\"){favouriteColour}}", json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "undefinedField");
    assert_eq!(setup.simulator.control().violations().len(), 3);
}

#[tokio::test]
async fn faults_withhold_parts_and_say_why_with_their_paths() {
    let setup = setup(Options::default());
    let control = setup.simulator.control();
    let query = "query Threads($ids:[ID!]!){rateLimit{cost} repository(owner:\"lumen\",name:\"lumen\"){\
                 i1:issue(number:1){title id} i4:issue(number:4){id t:timelineItems(first:2){nodes{__typename}}}} \
                 l0:nodes(ids:$ids){id}}";
    let plain = setup.ask(query, json!({"ids": []})).await;
    let ids = json!({"ids": [&plain["data"]["repository"]["i1"]["id"], &plain["data"]["repository"]["i4"]["id"]]});
    let withhold = async |what, error| {
        control.inject(Rule::once(Fault::Withhold { what, error }).on("/graphql#Threads"));
        setup.ask(query, ids.clone()).await
    };
    let paths = |answer: &Value| -> Vec<Value> {
        let errors = answer["errors"].as_array().unwrap();
        errors.iter().map(|error| error["path"].clone()).collect()
    };

    let everything = withhold(Withheld::Everything, GraphqlError::WentWrong).await;
    assert_eq!(everything["data"], Value::Null);
    assert!(everything["errors"][0]["message"].as_str().unwrap().starts_with("Something went wrong"));

    let fields = withhold(Withheld::Fields, GraphqlError::ResourceLimits).await;
    assert_eq!(fields["data"]["rateLimit"]["cost"], 1);
    assert_eq!(fields["data"]["repository"], Value::Null);
    assert_eq!(fields["errors"][0]["type"], "RESOURCE_LIMITS_EXCEEDED");
    assert_eq!(paths(&fields), [json!(["repository"])]);

    let items = withhold(Withheld::Items(2), GraphqlError::Forbidden).await;
    assert_eq!(items["data"]["repository"]["i4"], Value::Null);
    assert!(items["data"]["repository"]["i1"]["title"].is_string() && items["data"]["l0"][0]["id"].is_string());
    assert_eq!(items["errors"][0]["type"], "FORBIDDEN");
    assert_eq!(paths(&items), [json!(["repository", "i4"]), json!(["l0", 1])]);

    let entries = withhold(Withheld::Entries(4), GraphqlError::Forbidden).await;
    assert_eq!(entries["data"]["repository"]["i4"]["t"]["nodes"][0], Value::Null);
    assert!(entries["data"]["repository"]["i4"]["t"]["nodes"][1].is_object());
    assert_eq!(paths(&entries), [json!(["repository", "i4", "t", "nodes", 0])]);
    assert_eq!(control.fault_hits(), 4);
    assert!(control.violations().is_empty());
}

#[tokio::test]
async fn limits_also_come_as_errors_in_a_200() {
    let setup = setup(Options { grace: std::time::Duration::from_secs(60), ..Options::default() });
    let query = "query Counts{repository(owner:\"lumen\",name:\"lumen\"){id}}";
    let control = setup.simulator.control();
    control.inject(Rule::once(Fault::SecondaryLimit { retry_after_s: Some(0), status: 200 }).on("/graphql"));
    let secondary = setup.ask(query, json!({})).await;
    assert!(secondary["errors"][0]["message"].as_str().unwrap().contains("secondary rate limit"));
    control.inject(Rule::once(Fault::PrimaryLimit { reset_in_s: 60, status: 200 }).on("/graphql"));
    assert_eq!(setup.ask(query, json!({})).await["errors"][0]["type"], "RATE_LIMITED");
}
