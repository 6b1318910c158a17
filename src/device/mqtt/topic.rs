//! Topic names, topic filters (MQTT 3.1.1 §4.7) and topic patterns with captures. Pure.

/// A topic with exactly one `{device}` level: `compound/{device}/up`. `+` matches any one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    Any,
    Device,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut levels = Vec::new();
        for level in text.split('/') {
            levels.push(match level {
                "{device}" => Level::Device,
                "+" => Level::Any,
                other if other.contains(['{', '}', '+', '#', '\0']) => {
                    return Err(format!("level {other:?}: only {{device}}, + or plain text"));
                }
                other => Level::Literal(other.into()),
            });
        }
        match levels.iter().filter(|level| **level == Level::Device).count() {
            1 => Ok(Self { levels }),
            count => Err(format!("{count} times {{device}}: exactly one level names the device")),
        }
    }

    /// The device's name in a topic that matches.
    #[must_use]
    pub fn device<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let mut device = None;
        let mut levels = self.levels.iter();
        for part in topic.split('/') {
            match levels.next()? {
                Level::Literal(text) if **text == *part => {}
                Level::Literal(_) => return None,
                Level::Any => {}
                Level::Device => device = Some(part),
            }
        }
        if levels.next().is_some() { None } else { device }
    }
}

/// Whether a text may be published to: not empty, no wildcard, no U+0000 (MQTT 3.1.1 §4.7.3).
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0))
}

/// Whether a text may be subscribed to: `+` fills a level, `#` the last one (MQTT 3.1.1 §4.7.1).
#[must_use]
pub fn is_filter(text: &str) -> bool {
    let mut levels = text.split('/').rev();
    let good = |level: &str| level == "+" || !level.contains(['+', '#', '\0']);
    let last = levels.next().is_some_and(|level| level == "#" || good(level));
    !text.is_empty() && last && levels.all(good)
}

/// The group and the filter of a shared subscription, `$share/GROUP/FILTER` (MQTT 5.0 §4.8.2); none when it is not one.
/// Neither part is checked.
#[must_use]
pub fn shared(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

/// Whether a text may stand in a SUBSCRIBE: a filter, or a shared one whose group has a name without wildcards.
#[must_use]
pub fn is_subscription(text: &str) -> bool {
    match (text.starts_with("$share/"), shared(text)) {
        (false, _) => is_filter(text),
        (true, None) => false,
        (true, Some((group, filter))) => {
            !group.is_empty() && !group.contains(['+', '#', '\0']) && is_filter(filter)
        }
    }
}

/// Whether a filter covers a topic. Neither is checked; a topic that begins with `$` is covered by no wildcard at the
/// front (MQTT 3.1.1 §4.7.2).
#[must_use]
pub fn covers(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether a filter covers every topic that another one covers.
#[must_use]
pub fn includes(filter: &str, other: &str) -> bool {
    if other.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = other.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, Some("#")) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// The filter of a subscription, whether it is shared or not.
#[must_use]
pub fn subscribed(text: &str) -> &str {
    shared(text).map_or(text, |(_, filter)| filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_filters_are_told_apart() {
        for (text, name, filter) in [
            ("a/b", true, true),
            ("/", true, true),
            ("温度/1", true, true),
            ("", false, false),
            ("a\0", false, false),
            ("a/+/b", false, true),
            ("#", false, true),
            ("+", false, true),
            ("a/#", false, true),
            ("#/a", false, false),
            ("a/#/b", false, false),
            ("a#", false, false),
            ("a/b+", false, false),
            ("++", false, false),
        ] {
            assert_eq!((is_name(text), is_filter(text)), (name, filter), "{text:?}");
        }
    }

    #[test]
    fn shared_subscriptions_have_a_group_and_a_filter() {
        for (text, good, parts) in [
            ("$share/g/a/+", true, Some(("g", "a/+"))),
            ("$share/g//", true, Some(("g", "/"))),
            ("$share/组/#", true, Some(("组", "#"))),
            ("$share/g/", false, Some(("g", ""))),
            ("$share/g", false, None),
            ("$share/", false, None),
            ("$share//a", false, Some(("", "a"))),
            ("$share/+/a", false, Some(("+", "a"))),
            ("$share/g#/a", false, Some(("g#", "a"))),
            ("$share/g/a/#/b", false, Some(("g", "a/#/b"))),
            ("$share", true, None),
            ("$shared/g/a", true, None),
            ("a/+", true, None),
            ("a+", false, None),
            ("", false, None),
        ] {
            assert_eq!((is_subscription(text), shared(text)), (good, parts), "{text:?}");
        }
    }

    #[test]
    fn filters_cover_topics() {
        for (filter, topic, expected) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+/b", "a/b", true),
            ("+", "a/b", false),
            ("+/+", "/a", true),
            ("a/+", "a/", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("温度/+", "温度/1", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
        ] {
            assert_eq!(covers(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_include_filters() {
        for (filter, other, expected) in [
            ("#", "a/+/#", true),
            ("#", "$SYS/#", false),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/#", "a/+/b", true),
            ("a/#", "+/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+/#", "a/#", false),
            ("a/b", "a/+", false),
            ("a/b", "a/b", true),
            ("a/b", "a", false),
        ] {
            assert_eq!(includes(filter, other), expected, "{filter} {other}");
        }
    }

    #[test]
    fn patterns_match_whole_topics() {
        let pattern = Pattern::parse("compound/+/{device}/up").expect("a good pattern");
        for (topic, device) in [
            ("compound/gate/d1/up", Some("d1")),
            ("compound/门/温度-1/up", Some("温度-1")),
            ("compound/gate/d1", None),
            ("compound/gate/d1/up/x", None),
            ("other/gate/d1/up", None),
            ("", None),
        ] {
            assert_eq!(pattern.device(topic), device, "{topic:?}");
        }
        for bad in ["a/b", "a/{device}/{device}", "a/#", "a/x{device}"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
