//! `[[rules]]`: which users may do what in which rooms.

use super::super::ConfigError;
use super::super::shapes::{self, is_name};
use super::row::Row;

/// What users may do in rooms of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The namespace, as it stands.
    pub namespace: String,
    /// Patterns of user ids.
    pub users: Vec<String>,
    /// Patterns of rooms.
    pub rooms: Vec<String>,
    /// What it permits.
    pub allow: Vec<Verb>,
}

/// What a client may ask to do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `room:join`.
    Join,
    /// `room:message`.
    Publish,
}

const VERBS: &[(&str, Verb)] = &[("join", Verb::Join), ("publish", Verb::Publish)];
const PATTERNS: &str = "a list of patterns of 1 to 256 bytes with * and ?";
const ROOM_PATTERNS: &str =
    "a list of patterns of 1 to 256 bytes with * and ?, none of user:* or session:* rooms";

impl Rule {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, ConfigError> {
        row.only(&["namespace", "users", "rooms", "allow"])?;
        let is_namespace = |text: &str| shapes::namespace(text).is_some();
        Ok(Self {
            namespace: row.text_or("namespace", "/", "a name that starts with /", is_namespace)?,
            users: match row.members.contains_key("users") {
                true => row.list("users", PATTERNS, is_name)?,
                false => vec!["*".to_owned()],
            },
            rooms: row
                .list("rooms", ROOM_PATTERNS, |text| is_name(text) && !is_reserved_room(text))?,
            allow: row.words("allow", VERBS)?,
        })
    }

    /// Whether this rule lets `user` do `verb` in `room`. The reserved rooms stay closed whatever
    /// a pattern matches; that a room is some socket's own id, the caller must look up.
    ///
    /// Cost: see [`glob_match`], for each pattern.
    #[must_use]
    pub fn permits(&self, namespace: &str, user: &str, room: &str, verb: Verb) -> bool {
        let any = |patterns: &[String], text| patterns.iter().any(|one| glob_match(one, text));
        self.allow.contains(&verb)
            && self.namespace == namespace
            && !is_reserved_room(room)
            && any(&self.users, user)
            && any(&self.rooms, room)
    }
}

/// Whether the gateway alone decides who is in `room`.
#[must_use]
pub fn is_reserved_room(room: &str) -> bool {
    room.starts_with("user:") || room.starts_with("session:")
}

/// Whether all of `text` matches: `*` is any characters or none, `?` is any one.
///
/// Cost: at most pattern times text steps, both bounded by 256 bytes where it is used: a star
/// that did not work out is tried again one character later, and only ever the last star.
#[must_use]
pub fn glob_match(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let here = (pattern.clone(), text.clone());
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = here.1;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => {}
            (Some(want), Some(found)) if want == found => {}
            // What is left of the text is shorter after every other try.
            (Some(_), None) => return false,
            (_, Some(_)) => {
                let Some((after_star, tried)) = &mut last_star else {
                    return false;
                };
                tried.next();
                (pattern, text) = (after_star.clone(), tried.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::glob_match;

    #[test]
    fn globs_match_all_of_the_text() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "ä", true),
            ("??", "ä", false),
            ("chat:*", "chat:", true),
            ("chat:*", "chat:1", true),
            ("chat:*", "xchat:1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*a", "aab", false),
            ("*ab", "aab", true),
            ("a**b", "ab", true),
            ("a*", "b", false),
            ("a?c*", "abcd", true),
            ("a", "A", false),
        ] {
            assert_eq!(glob_match(pattern, text), matches, "{pattern:?} {text:?}");
        }
        // Exponential where every star is tried again.
        assert!(!glob_match(&"*a".repeat(128), &format!("{}b", "a".repeat(255))));
    }

    /// Against a twin that is plain and slow: every short pattern on every short text.
    #[test]
    fn globs_agree_with_the_definition() {
        fn plain(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) => (0..=text.len()).any(|from| plain(rest, &text[from..])),
                (Some((want, pattern)), Some((found, text))) => {
                    (*want == b'?' || want == found) && plain(pattern, text)
                }
                _ => false,
            }
        }
        let words = |letters: &str| {
            let mut words = vec![String::new()];
            for from in 0..85 {
                let Some(word) = words.get(from).cloned() else {
                    break;
                };
                words.extend(letters.chars().map(|letter| format!("{word}{letter}")));
            }
            words
        };
        for pattern in words("ab*?") {
            for text in words("ab") {
                let expected = plain(pattern.as_bytes(), text.as_bytes());
                assert_eq!(glob_match(&pattern, &text), expected, "{pattern:?} {text:?}");
            }
        }
    }
}
