//! Lists of tables, which only the file can hold: API keys and the rules of rooms.

use super::shapes::{self, KEY_ALLOWED, Secret, is_key, is_name};
use super::{ConfigError, quoted};
use toml::{Table, Value};

/// What the file says beside the options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Keys that REST accepts. [`load()`](super::load()) adds the one of the option `api_key`.
    pub api_keys: Vec<ApiKey>,
    /// Which users may do what in which rooms. Without any, nobody may.
    pub rules: Vec<Rule>,
}

/// One API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Who has it, for the log.
    pub name: String,
    /// The key itself.
    pub key: Secret,
    /// What it opens.
    pub scopes: Vec<Scope>,
}

/// A part of REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Messages and notifications to clients, rooms made, joined and left.
    Emit,
    /// Statistics, users, rooms.
    Read,
    /// What changes or ends the server's own work.
    Admin,
}

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

const TABLES: [&str; 4] = ["api_keys", "rules", "routes", "hooks"];
/// Tables whose feature is missing, and its name.
const NOT_BUILT: [(&str, &str); 2] =
    [("routes", "routing to back ends"), ("hooks", "sending webhooks")];
const SCOPES: &[(&str, Scope)] =
    &[("emit", Scope::Emit), ("read", Scope::Read), ("admin", Scope::Admin)];
const VERBS: &[(&str, Verb)] = &[("join", Verb::Join), ("publish", Verb::Publish)];
const PATTERNS: &str = "a list of patterns of 1 to 256 bytes with * and ?";
const ROOM_PATTERNS: &str =
    "a list of patterns of 1 to 256 bytes with * and ?, none of user:* or session:* rooms";

impl ApiKey {
    /// The key of the option `api_key`: it opens everything.
    pub(super) fn of_option(key: Secret) -> Self {
        let scopes = SCOPES.iter().map(|(_, scope)| *scope).collect();
        Self { name: "api_key".into(), key, scopes }
    }
}

impl Rule {
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

/// Whether `key` of the file is one of the tables read here.
pub(super) fn is_table(key: &str) -> bool {
    TABLES.contains(&key)
}

/// The names, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter()
}

pub(super) fn read(file: &Table) -> Result<Tables, ConfigError> {
    for (name, feature) in NOT_BUILT {
        if !rows(file, name)?.is_empty() {
            let line = format!("[[{name}]]: {feature} is not built yet; remove it to start");
            return Err(ConfigError::new(line));
        }
    }
    let mut tables = Tables::default();
    for row in rows(file, "api_keys")? {
        let key = row.api_key()?;
        if tables.api_keys.iter().any(|other| other.name == key.name) {
            return Err(row.refused("name", &quoted(&key.name), "a name that no other key has"));
        }
        if tables.api_keys.iter().any(|other| other.key == key.key) {
            return Err(row.refused("key", "***", "a key that stands there only once"));
        }
        tables.api_keys.push(key);
    }
    for row in rows(file, "rules")? {
        tables.rules.push(row.rule()?);
    }
    Ok(tables)
}

/// One table of a list, with its name for messages: `[[rules]] 2`.
struct Row<'a> {
    name: String,
    members: &'a Table,
}

fn rows<'a>(file: &'a Table, list: &str) -> Result<Vec<Row<'a>>, ConfigError> {
    let Some(value) = file.get(list) else {
        return Ok(Vec::new());
    };
    let refused = || ConfigError::refused(list, value.type_str(), &format!("tables, [[{list}]]"));
    let tables = value.as_array().ok_or_else(refused)?.iter().enumerate();
    let row = |(index, value): (usize, &'a Value)| {
        let members = value.as_table().ok_or_else(refused)?;
        Ok(Row { name: format!("[[{list}]] {}", index + 1), members })
    };
    tables.map(row).collect()
}

impl Row<'_> {
    fn api_key(&self) -> Result<ApiKey, ConfigError> {
        self.only(&["name", "key", "scopes"])?;
        let key = self.text("key", KEY_ALLOWED, is_key)?;
        Ok(ApiKey {
            name: self.text("name", "1 to 256 bytes without control characters", is_name)?,
            key: Secret::new(key),
            scopes: self.words("scopes", SCOPES)?,
        })
    }

    fn rule(&self) -> Result<Rule, ConfigError> {
        self.only(&["namespace", "users", "rooms", "allow"])?;
        let is_namespace = |text: &str| shapes::namespace(text).is_some();
        let or = |member, default: &str| match self.members.contains_key(member) {
            true => None,
            false => Some(default.to_owned()),
        };
        Ok(Rule {
            namespace: match or("namespace", "/") {
                Some(root) => root,
                None => self.text("namespace", "a name that starts with /", is_namespace)?,
            },
            users: match or("users", "*") {
                Some(everybody) => vec![everybody],
                None => self.list("users", PATTERNS, is_name)?,
            },
            rooms: self
                .list("rooms", ROOM_PATTERNS, |text| is_name(text) && !is_reserved_room(text))?,
            allow: self.words("allow", VERBS)?,
        })
    }

    /// Refuses a member that nobody would read.
    fn only(&self, known: &[&str]) -> Result<(), ConfigError> {
        match self.members.keys().find(|key| !known.contains(&key.as_str())) {
            // Not its value: that may be a secret under a mistyped name.
            Some(key) => Err(ConfigError::new(format!(
                "{}: {}: no such key; allowed are {}",
                self.name,
                quoted(key),
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    fn text(
        &self,
        member: &str,
        allowed: &str,
        accept: fn(&str) -> bool,
    ) -> Result<String, ConfigError> {
        let value = self.member(member, allowed)?;
        match value.as_str().filter(|text| accept(text)) {
            Some(text) => Ok(text.into()),
            None if member == "key" => Err(self.refused(member, "***", allowed)),
            None => Err(self.refused(member, &written(value), allowed)),
        }
    }

    /// At least one string.
    fn list(
        &self,
        member: &str,
        allowed: &str,
        accept: fn(&str) -> bool,
    ) -> Result<Vec<String>, ConfigError> {
        let value = self.member(member, allowed)?;
        let refused = || self.refused(member, &written(value), allowed);
        let items = value.as_array().filter(|items| !items.is_empty()).ok_or_else(refused)?;
        let texts = items.iter().map(|item| item.as_str().filter(|text| accept(text)));
        texts.map(|text| text.map(str::to_owned).ok_or_else(refused)).collect()
    }

    fn words<T: Copy>(&self, member: &str, known: &[(&str, T)]) -> Result<Vec<T>, ConfigError> {
        let names: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let allowed = format!("a list of {}", names.join(", "));
        let texts = self.list(member, &allowed, |_| true)?;
        let find = |text: &String| {
            let found = known.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
            found.ok_or_else(|| self.refused(member, &quoted(text), &allowed))
        };
        texts.iter().map(find).collect()
    }

    fn member(&self, member: &str, allowed: &str) -> Result<&Value, ConfigError> {
        self.members.get(member).ok_or_else(|| {
            ConfigError::new(format!("{}: {member} is missing: allowed is {allowed}", self.name))
        })
    }

    fn refused(&self, member: &str, value: &str, allowed: &str) -> ConfigError {
        ConfigError::refused(&format!("{}: {member}", self.name), value, allowed)
    }
}

/// A value of the file, on one line.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            value.to_string()
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().take(16).map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(_) => "a table".into(),
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
