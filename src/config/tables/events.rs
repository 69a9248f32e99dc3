//! `[[events]]`: what the operator's own events must be like, and how often one may send them.

use super::super::ConfigError;
use super::super::shapes::{self, is_name};
use super::row::{Row, written};
use super::rules::glob_match;
use toml::Value;

/// What events of some names must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRule {
    /// The namespace, as it stands.
    pub namespace: String,
    /// Pattern of event names.
    pub name: String,
    /// How many a second one socket may send in the long run; 0 is as many as it likes.
    pub per_second: u32,
    /// How many at once.
    pub burst: u32,
    /// Bytes of the arguments.
    pub payload_bytes_max: usize,
    /// Members of the first argument. Without any it may be anything.
    pub members: Vec<MemberRule>,
    /// Whether the first argument may have no other members.
    pub only: bool,
}

/// What one member must be.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberRule {
    /// Its name.
    pub name: String,
    /// Its value.
    pub kind: MemberKind,
    /// Whether it must be there.
    pub required: bool,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberKind {
    /// Anything.
    Any,
    /// `true` or `false`.
    Flag,
    /// 1 to 256 bytes without control characters.
    Name,
    /// A string of 1 to so many bytes.
    Text(usize),
    /// A number between the two.
    Number(f64, f64),
    /// One of these strings.
    Word(Vec<String>),
}

/// Members that one rule may have; the gateway's own events have no more either.
pub const MEMBERS_MAX: usize = 8;
/// Bytes of a text whose rule does not say.
const TEXT_BYTES_MAX: usize = 65_536;
/// Bytes of arguments where a rule does not say: whatever a message may be.
const PAYLOAD_BYTES_MAX: u64 = 1 << 28;
const KINDS: &str =
    "any, flag, name, text, text:BYTES, number, number:MIN..MAX, or a list of words";
const MEMBERS: &str = "a table of up to 8 members";

impl EventRule {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, ConfigError> {
        row.only(&[
            "namespace",
            "name",
            "per_second",
            "burst",
            "payload_bytes_max",
            "required",
            "members",
            "only",
        ])?;
        let is_namespace = |text: &str| shapes::namespace(text).is_some();
        let per_second = row.number_or("per_second", 0, 0..=1_000_000)?;
        let burst = row.number_or("burst", per_second.saturating_mul(2).max(1), 1..=10_000_000)?;
        let payload =
            row.number_or("payload_bytes_max", PAYLOAD_BYTES_MAX, 2..=PAYLOAD_BYTES_MAX)?;
        let only = match row.members.get("only") {
            None => false,
            Some(Value::Boolean(only)) => *only,
            Some(other) => return Err(row.refused("only", &written(other), "true or false")),
        };
        Ok(Self {
            namespace: row.text_or("namespace", "/", "a name that starts with /", is_namespace)?,
            name: row.text("name", "a pattern of 1 to 256 bytes with * and ?", is_name)?,
            per_second: u32::try_from(per_second).unwrap_or(u32::MAX),
            burst: u32::try_from(burst).unwrap_or(u32::MAX),
            payload_bytes_max: usize::try_from(payload).unwrap_or(usize::MAX),
            members: members(row)?,
            only,
        })
    }

    /// Whether it is about an event. The first rule of the file that is, counts.
    #[must_use]
    pub fn is_about(&self, namespace: &str, event: &str) -> bool {
        self.namespace == namespace && glob_match(&self.name, event)
    }
}

fn members(row: &Row<'_>) -> Result<Vec<MemberRule>, ConfigError> {
    let mut rules = Vec::new();
    if let Some(value) = row.members.get("members") {
        let refused = || row.refused("members", &written(value), MEMBERS);
        for (name, value) in value.as_table().ok_or_else(refused)? {
            let kind = kind(value)
                .ok_or_else(|| row.refused(&format!("members.{name}"), &written(value), KINDS))?;
            rules.push(MemberRule { name: name.clone(), kind, required: false });
        }
    }
    if row.members.contains_key("required") {
        for name in row.list("required", "a list of members", is_name)? {
            match rules.iter_mut().find(|rule| rule.name == name) {
                Some(rule) => rule.required = true,
                None => rules.push(MemberRule { name, kind: MemberKind::Any, required: true }),
            }
        }
    }
    if rules.len() > MEMBERS_MAX {
        return Err(row.refused("members", &rules.len().to_string(), MEMBERS));
    }
    Ok(rules)
}

fn kind(value: &Value) -> Option<MemberKind> {
    if let Some(words) = value.as_array() {
        let words: Option<Vec<String>> =
            words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
        return words.filter(|words| !words.is_empty()).map(MemberKind::Word);
    }
    let text = value.as_str()?;
    Some(match text.split_once(':') {
        None => match text {
            "any" => MemberKind::Any,
            "flag" => MemberKind::Flag,
            "name" => MemberKind::Name,
            "text" => MemberKind::Text(TEXT_BYTES_MAX),
            "number" => MemberKind::Number(f64::MIN, f64::MAX),
            _ => return None,
        },
        Some(("text", bytes)) => MemberKind::Text(bytes.parse().ok().filter(|max| *max > 0)?),
        Some(("number", range)) => {
            let (min, max) = range.split_once("..")?;
            let (min, max): (f64, f64) = (min.parse().ok()?, max.parse().ok()?);
            (min <= max).then_some(MemberKind::Number(min, max))?
        }
        Some(_) => return None,
    })
}
