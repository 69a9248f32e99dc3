//! Routing keys with places in them that an event fills.

/// A routing key such as `ai.request.{args.0.toolId}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Slot(Slot),
}

/// What an event puts into a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `{event}`: its name.
    Event,
    /// `{ns}`: its namespace.
    Namespace,
    /// `{user}`: whose client sent it.
    User,
    /// `{session}`: that user's session.
    Session,
    /// `{args.0.toolId}`: a member of an argument.
    Argument {
        /// Which argument, from 0.
        index: usize,
        /// The way to the member, from outside in.
        path: Vec<String>,
    },
}

/// Bytes of one value in a key.
const VALUE_BYTES_MAX: usize = 64;
/// Rule: AMQP 0-9-1 section 4.2.5.3: a short string has at most 255 bytes.
const KEY_BYTES_MAX: usize = 255;

impl KeyTemplate {
    /// Reads a template; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'}');
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (slot, after) = after.split_once('}')?;
            if !plain(before) {
                return None;
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Slot(slot_of(slot)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let fits = plain(rest) && (1..=KEY_BYTES_MAX).contains(&text.len());
        fits.then_some(Self(parts))
    }

    /// The key of one event. What `value` does not know is `_`, and so is every character of a
    /// value that an identifier does not have: no client chooses more than one word of a key.
    pub fn render(&self, value: impl Fn(&Slot) -> Option<String>) -> String {
        let mut key = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Slot(slot) => key.push_str(&identifier(&value(slot).unwrap_or_default())),
            }
        }
        // Whatever is written here is ASCII.
        key.truncate(KEY_BYTES_MAX);
        key
    }
}

fn slot_of(text: &str) -> Option<Slot> {
    match text {
        "event" => Some(Slot::Event),
        "ns" => Some(Slot::Namespace),
        "user" => Some(Slot::User),
        "session" => Some(Slot::Session),
        _ => {
            let mut words = text.strip_prefix("args.")?.split('.');
            let index = words.next()?.parse().ok().filter(|index| *index < 16)?;
            let path: Vec<String> = words.map(str::to_owned).collect();
            let named = path.len() <= 8 && path.iter().all(|word| !word.is_empty());
            named.then_some(Slot::Argument { index, path })
        }
    }
}

fn identifier(value: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let word: String =
        value.chars().take(VALUE_BYTES_MAX).map(|c| if allowed(c) { c } else { '_' }).collect();
    if word.is_empty() { String::from("_") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, tool: &str) -> String {
        let template = KeyTemplate::parse(template).expect("a template");
        template.render(|slot| match slot {
            Slot::Event => Some("ai_request".into()),
            Slot::Argument { index: 0, path } if path == &["toolId"] => Some(tool.into()),
            _ => None,
        })
    }

    #[test]
    fn values_become_one_word_each() {
        for (template, tool, key) in [
            ("ai.request.{args.0.toolId}", "tool1", "ai.request.tool1"),
            ("ai.request.{args.0.toolId}", "a.b#*", "ai.request.a_b__"),
            ("ai.request.{args.0.toolId}", "", "ai.request._"),
            ("{event}", "", "ai_request"),
            ("x.{session}.{args.1}", "", "x._._"),
            ("{args.0.toolId}", "ü", "_"),
        ] {
            assert_eq!(render(template, tool), key, "{template} {tool}");
        }
        assert_eq!(render("{args.0.toolId}", &"x".repeat(100)).len(), 64);
        let long = "{args.0.toolId}".repeat(17);
        assert_eq!(render(&long, &"x".repeat(64)).len(), 255);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "{", "a}", "{x}", "{args}", "{args.99}", "{args.0..a}", "a b", "{{event}}"]
        {
            assert_eq!(KeyTemplate::parse(text), None, "{text}");
        }
    }
}
