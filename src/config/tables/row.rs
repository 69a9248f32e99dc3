//! One table of a list in the file, and how its members are read.

use super::super::shapes::Secret;
use super::super::{ConfigError, quoted};
use std::ops::RangeInclusive;
use toml::{Table, Value};

/// One table of a list, with its name for messages: `[[rules]] 2`.
pub(super) struct Row<'a> {
    pub(super) name: String,
    pub(super) members: &'a Table,
}

pub(super) fn rows<'a>(file: &'a Table, list: &str) -> Result<Vec<Row<'a>>, ConfigError> {
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
    /// Refuses a member that nobody would read.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ConfigError> {
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

    pub(super) fn text(
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

    /// A text that is shown to nobody.
    pub(super) fn hidden(
        &self,
        member: &str,
        allowed: &str,
        accept: fn(&str) -> bool,
    ) -> Result<Secret, ConfigError> {
        let text = self.member(member, allowed)?.as_str().filter(|text| accept(text));
        text.map(Secret::new).ok_or_else(|| self.refused(member, "***", allowed))
    }

    /// The same as [`Self::text`], with a value for those who do not say.
    pub(super) fn text_or(
        &self,
        member: &str,
        default: &str,
        allowed: &str,
        accept: fn(&str) -> bool,
    ) -> Result<String, ConfigError> {
        if self.members.contains_key(member) {
            return self.text(member, allowed, accept);
        }
        Ok(default.to_owned())
    }

    /// A whole number within bounds.
    pub(super) fn number_or(
        &self,
        member: &str,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(value) = self.members.get(member) else {
            return Ok(default);
        };
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            let allowed = format!("{} to {}", bounds.start(), bounds.end());
            self.refused(member, &written(value), &allowed)
        })
    }

    /// One of some words.
    pub(super) fn word_or<T: Copy>(
        &self,
        member: &str,
        default: T,
        known: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let Some(value) = self.members.get(member) else {
            return Ok(default);
        };
        let found = known.iter().find(|(word, _)| value.as_str() == Some(word));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            self.refused(member, &written(value), &format!("one of {}", names.join(", ")))
        })
    }

    /// At least one string.
    pub(super) fn list(
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

    /// Some keys, at least one, whose text is shown to nobody.
    pub(super) fn secrets(
        &self,
        member: &str,
        count_max: usize,
        allowed: &str,
        accept: fn(&str) -> bool,
    ) -> Result<Vec<Secret>, ConfigError> {
        let value = self.member(member, allowed)?;
        let refused = || self.refused(member, "***", allowed);
        let items = value.as_array().filter(|items| (1..=count_max).contains(&items.len()));
        let texts = items.ok_or_else(refused)?.iter();
        let texts = texts.map(|item| item.as_str().filter(|text| accept(text)));
        texts.map(|text| text.map(Secret::new).ok_or_else(refused)).collect()
    }

    pub(super) fn words<T: Copy>(
        &self,
        member: &str,
        known: &[(&str, T)],
    ) -> Result<Vec<T>, ConfigError> {
        let names: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let allowed = format!("a list of {}", names.join(", "));
        let texts = self.list(member, &allowed, |_| true)?;
        let find = |text: &String| {
            let found = known.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
            found.ok_or_else(|| self.refused(member, &quoted(text), &allowed))
        };
        texts.iter().map(find).collect()
    }

    pub(super) fn member(&self, member: &str, allowed: &str) -> Result<&Value, ConfigError> {
        self.members.get(member).ok_or_else(|| {
            ConfigError::new(format!("{}: {member} is missing: allowed is {allowed}", self.name))
        })
    }

    pub(super) fn refused(&self, member: &str, value: &str, allowed: &str) -> ConfigError {
        ConfigError::refused(&format!("{}: {member}", self.name), value, allowed)
    }
}

/// A value of the file, on one line.
pub(in super::super) fn written(value: &Value) -> String {
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
