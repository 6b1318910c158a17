//! Alarms that look into lists of the city.

use std::sync::Arc;

use super::*;
use crate::rules::listed::{Entry, Held};

/// A gate whose plate is a text.
struct Gate;

impl Scope for Gate {
    fn metric(&self, _: Option<&str>, metric: &str) -> Option<Type> {
        (metric == "open").then_some(Type::Text)
    }
    fn device(&self, _: &str) -> bool {
        false
    }
    fn metrics(&self, _: Option<&str>) -> Vec<String> {
        vec!["open".into()]
    }
    fn devices(&self) -> Vec<String> {
        Vec::new()
    }
    fn lists(&self) -> Vec<String> {
        vec!["plates".into()]
    }
}

#[test]
fn a_list_that_changes_or_begins_and_ends_is_looked_at_like_a_reading() {
    let mut stranger = alarm("stranger", "open");
    stranger.when = cel::compile("!listed(\"plates\", open)", &Gate).ok();
    stranger.devices = vec![device("door-1")];
    stranger.closes_itself = true;
    let mut world = World::new(plan(vec![stranger]));
    let list = |until_ms: i64, keys: &[(&str, Option<i64>)]| {
        let entry = |(key, from): &(&str, Option<i64>)| Entry {
            key: (*key).into(),
            from_ms: from.map(|from| WALL_MS + from),
            until_ms: None,
        };
        Some(Arc::new(Held::new(1, WALL_MS + until_ms, keys.iter().map(entry))))
    };
    let plate = Reading {
        series: SeriesKey(0),
        time_ms: WALL_MS,
        received_ms: WALL_MS,
        device_time: false,
        value: Value::Text("a1".into()),
        quality: Quality::Good,
    };
    world.engine.reading(&plate, world.now());
    world.engine.settle(world.now());
    assert_eq!(world.events(), NOTHING, "without a list nobody is a stranger");
    world.engine.set_list(&id("plates"), list(100, &[("b2", None)]), world.now());
    assert_eq!(world.events(), ["stranger door-1 raised"]);
    world.engine.set_list(&id("plates"), list(100, &[("b2", None), ("a1", Some(50))]), world.now());
    world.now_ms = 49;
    world.engine.tick(world.now());
    assert_eq!(world.events(), NOTHING, "its time has not come");
    world.now_ms = 50;
    world.engine.tick(world.now());
    assert_eq!(world.events(), ["stranger door-1 cleared", "stranger door-1 closed"]);
    world.engine.set_list(&id("plates"), None, world.now());
    assert_eq!(world.events(), NOTHING);
}
