//! Topic patterns with captures.

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

#[cfg(test)]
mod tests {
    use super::*;

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
