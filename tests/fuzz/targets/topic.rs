//! Topic names and filters: what covers what, against a matcher that is written from the standard (MQTT 5.0 §4.7); a filter
//! that includes another one covers all that the other one covers; a shared subscription is its group and a filter.

use smallbrain::device::mqtt::topic::{covers, includes, is_filter, is_name, is_subscription, shared};

use super::feed::head;

pub fn run(input: &[u8]) {
    let (_, text) = head(input);
    let text = String::from_utf8_lossy(text);
    let texts: Vec<&str> = text.split('\n').take(8).collect();
    for one in &texts {
        assert!(!is_name(one) || is_filter(one), "{one:?}: every name is a filter");
        if let (true, Some((group, filter))) = (is_subscription(one), shared(one)) {
            assert!(!group.is_empty() && !group.contains('/') && is_filter(filter), "{one:?}");
            assert_eq!(format!("$share/{group}/{filter}"), **one);
        }
    }
    let filters: Vec<_> = texts.iter().filter(|text| is_filter(text)).collect();
    for filter in &filters {
        assert!(includes(filter, filter), "{filter:?}: every filter includes itself");
        for topic in texts.iter().filter(|text| is_name(text)) {
            let levels = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
            let reserved = topic.starts_with('$') && !filter.starts_with('$');
            let wildcard = filter.starts_with(['+', '#']);
            let expected = !(reserved && wildcard) && fits(&levels(filter), &levels(topic));
            assert_eq!(covers(filter, topic), expected, "{filter:?} {topic:?}");
            let wider = filters.iter().filter(|wider| includes(wider, filter));
            for wider in wider.filter(|_| expected) {
                assert!(covers(wider, topic), "{wider:?} includes {filter:?}, which covers {topic:?}");
            }
        }
    }
}

fn fits(filter: &[String], topic: &[String]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((level, [])), _) if level == "#" => true,
        (Some((level, filter)), Some((name, topic))) => {
            (level == "+" || level == name) && fits(filter, topic)
        }
        (None, None) => true,
        _ => false,
    }
}
