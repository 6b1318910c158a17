//! Patterns of names, in which `*` stands for any run of characters.

/// Whether a text fits a pattern in which `*` stands for any run of characters.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or("");
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_runs() {
        for (pattern, text, fit) in [
            ("*", "", true),
            ("*", "door-1", true),
            ("door-*", "door-1", true),
            ("door-*", "gate-1", false),
            ("door", "door-1", false),
            ("*-1", "door-1", true),
            ("*-1", "door-1-1", true),
            ("*-1", "door-11", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("aa*aa", "aaa", false),
            ("门*", "门禁-1", true),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }
}
