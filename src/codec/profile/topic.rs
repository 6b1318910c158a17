//! Topic patterns with named captures, and the small templates that make names of what was captured.

use super::node::Node;

/// What the levels of a topic were captured as.
pub(super) type Captures<'t> = Vec<(&'t str, &'t str)>;

/// Longest name that a template makes, bytes.
const NAME_BYTES_MAX: usize = 256;

/// The captures of a topic that matches: `{name}` is one level, `{name*}` one or more (once in a pattern), `+` any one,
/// `{name:POWER*}` one that fits, a pattern `#` any topic. A captured level is not empty.
pub(super) fn capture<'t>(pattern: &'t str, topic: &'t str) -> Option<Captures<'t>> {
    if pattern == "#" {
        return Some(Vec::new());
    }
    let mut captures = Vec::new();
    let (mut wanted, mut rest) = (Some(pattern), Some(topic));
    while let Some(level) = take(&mut wanted, str::split_once) {
        let star = level.strip_prefix('{').and_then(|level| level.strip_suffix("*}"));
        if let Some(name) = star.filter(|name| !name.contains(':')) {
            while let Some(level) = take(&mut wanted, back) {
                one(level, take(&mut rest, back)?, &mut captures)?;
            }
            captures.push((name, rest.filter(|levels| !levels.is_empty())?));
            return Some(captures);
        }
        one(level, take(&mut rest, str::split_once)?, &mut captures)?;
    }
    rest.is_none().then_some(captures)
}

/// As [`str::split_once`], from the end.
fn back(text: &str, at: char) -> Option<(&str, &str)> {
    text.rsplit_once(at).map(|(rest, level)| (level, rest))
}

/// The next level, and the rest.
fn take<'t>(
    rest: &mut Option<&'t str>,
    split: fn(&'t str, char) -> Option<(&'t str, &'t str)>,
) -> Option<&'t str> {
    let text = rest.take()?;
    let Some((level, others)) = split(text, '/') else { return Some(text) };
    *rest = Some(others);
    Some(level)
}

fn one<'t>(level: &'t str, found: &'t str, captures: &mut Captures<'t>) -> Option<()> {
    match level.strip_prefix('{').and_then(|level| level.strip_suffix('}')) {
        Some(name) => {
            let (name, pattern) = name.split_once(':').unwrap_or((name, "*"));
            captures.push((name, found));
            (!found.is_empty() && fits(pattern, found)).then_some(())
        }
        None => (level == "+" || level == found).then_some(()),
    }
}

/// Fills a template in: `{name}` from the captures, `{/pointer}` from the node. None when a part is missing or empty, and
/// when it gets longer than 256 bytes.
pub(super) fn render(template: &str, captures: &Captures<'_>, node: &Node<'_>) -> Option<String> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}')?;
        text.push_str(before);
        if name.starts_with('/') {
            text.push_str(&node.at(name)?.text()?);
        } else {
            text.push_str(captures.iter().find(|(known, _)| *known == name)?.1);
        }
        rest = behind;
    }
    text.push_str(rest);
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains('\0')).then_some(text)
}

/// Whether a name fits a pattern: letters of either case, `*` at the front, at the end or at both for anything.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (open, close) = (pattern.starts_with('*'), pattern.len() > 1 && pattern.ends_with('*'));
    let core = pattern.trim_matches('*').as_bytes();
    let name = name.as_bytes();
    let is = |part: Option<&[u8]>| part.is_some_and(|part| part.eq_ignore_ascii_case(core));
    match (open, close) {
        (false, false) => is(Some(name)),
        (false, true) => is(name.get(..core.len())),
        (true, false) => is(name.len().checked_sub(core.len()).map(|at| &name[at..])),
        (true, true) => core.is_empty() || name.windows(core.len()).any(|part| is(Some(part))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_captured_level_by_level() {
        for (pattern, topic, expected) in [
            ("tele/{device}/SENSOR", "tele/plug/SENSOR", Some(vec![("device", "plug")])),
            ("tele/{device}/SENSOR", "tele/plug/STATE", None),
            ("tele/{device}/SENSOR", "tele//SENSOR", None),
            ("tele/{device}/SENSOR", "tele/plug/SENSOR/x", None),
            ("tele/{device}/SENSOR", "tele/plug", None),
            ("z/{device*}", "z/hall/door 1", Some(vec![("device", "hall/door 1")])),
            ("z/{device*}", "z", None),
            ("z/{device*}", "z/", None),
            ("z/{device*}/availability", "z/a/b/availability", Some(vec![("device", "a/b")])),
            ("z/{device*}/availability", "z/availability", None),
            ("{device*}/status/{part}", "a/b/status/c:0", Some(vec![("part", "c:0"), ("device", "a/b")])),
            ("/sys/{pk}/+/x", "/sys/p/d/x", Some(vec![("pk", "p")])),
            ("stat/{d}/{o:POWER*}", "stat/x/POWER1", Some(vec![("d", "x"), ("o", "POWER1")])),
            ("stat/{d}/{o:POWER*}", "stat/x/STATUS1", None),
            ("#", "any/thing", Some(vec![])),
        ] {
            assert_eq!(capture(pattern, topic), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn templates_are_filled_in_or_are_none() {
        let node = Node::parse(br#"{"id":"d1","n":[7,true],"no":"","x":{}}"#).expect("json");
        let captures = vec![("gate", "east")];
        for (template, expected) in [
            ("{gate}", Some("east")),
            ("{/id}/{/n/0}-{/n/1}", Some("d1/7-true")),
            ("{/no}", None),
            ("{/x}", None),
            ("{/missing}", None),
            ("{other}", None),
            ("{gate", None),
            ("fixed", Some("fixed")),
            ("", None),
        ] {
            assert_eq!(render(template, &captures, &node).as_deref(), expected, "{template}");
        }
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("battery", "Battery", true),
            ("battery", "battery_low", false),
            ("temp*", "temp_SOIL", true),
            ("temp*", "tem", false),
            ("*_power", "a_act_power", true),
            ("*_power", "power", false),
            ("*humi*", "RelativeHumidity", true),
            ("*humi*", "hum", false),
            ("*", "", true),
            ("门*", "门磁", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_topic_is_matched_or_not(topic in any::<String>(), pattern in "[a{}*/+#]{0,12}") {
            let _ = capture(&pattern, &topic);
            let _ = fits(&pattern, &topic);
            let _ = render(&pattern, &vec![], &Node::Bare("x"));
        }
    }
}
