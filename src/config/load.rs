//! Reads the four layers, each over the one before: defaults, file, environment, flags.

use super::options::{Entry, OPTIONS, Options, entry};
use super::shapes::Kind;
use super::tables::{self, ApiKey, JwtKey, Tables};
use super::{ConfigError, checks, flags, quoted, suggestion};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// A configuration that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Every option.
    pub options: Options,
    /// What only the file can say, and the key of the option `api_key`.
    pub tables: Tables,
    /// Lines for the operator: what was ignored, or is not what it may seem.
    pub warnings: Vec<String>,
    /// Whether nobody named an address, so that one without IPv6 may be taken instead.
    pub listen_is_default: bool,
}

/// Reads everything. `base` has the defaults, `file` a file's name and text, `env` the whole
/// environment, `args` the arguments without program and command.
///
/// # Errors
/// One line for the first mistake, layer by layer, then for the rules between options.
pub fn load(
    base: Options,
    file: Option<(&str, &str)>,
    env: impl IntoIterator<Item = (String, String)>,
    args: &[String],
) -> Result<Loaded, ConfigError> {
    let mut layers = Layers { options: base, written: BTreeMap::new(), warnings: Vec::new() };
    let mut tables = Tables::default();
    if let Some((name, text)) = file {
        tables = layers.read_file(name, text)?;
    }
    layers.read_env(&env.into_iter().collect())?;
    layers.read_flags(args)?;

    let Layers { options, written, mut warnings } = layers;
    checks::check_rules(&options, &tables, &|name| {
        written.get(name).cloned().unwrap_or_else(|| name.into())
    })?;
    warnings.extend(checks::warnings(&options, &tables));
    tables.api_keys.extend(options.api_key.clone().map(ApiKey::of_option));
    tables.jwt_keys.extend(options.jwt_secret.clone().map(JwtKey::of_option));
    let listen_is_default = !written.contains_key("listen");
    Ok(Loaded { options, tables, warnings, listen_is_default })
}

struct Layers {
    options: Options,
    /// For each option that somebody set: its name as the last one wrote it.
    written: BTreeMap<&'static str, String>,
    warnings: Vec<String>,
}

impl Layers {
    fn read_file(&mut self, name: &str, text: &str) -> Result<Tables, ConfigError> {
        let file: Table = text.parse().map_err(|error| syntax(name, text, &error))?;
        for (key, value) in &file {
            if tables::is_table(key) {
                continue;
            }
            let Some(entry) = entry(key) else {
                let known = OPTIONS.iter().map(|entry| entry.name).chain(tables::names());
                let near = suggestion(key, known);
                // Not its value: that may be a secret under a mistyped name.
                let line = format!("{}: no such option in {name}{near}", bare(key));
                return Err(ConfigError::new(line));
            };
            let items = file_items(entry.kind(), value);
            self.apply(entry, key.clone(), items.as_deref(), &tables::written(value))?;
        }
        tables::read(&file)
    }

    fn read_env(&mut self, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        for entry in OPTIONS {
            let own = entry.variable();
            let names = std::iter::once(own.as_str()).chain(entry.also.iter().copied());
            let mut set = names.filter_map(|name| env.get_key_value(name));
            let Some((name, text)) = set.next() else {
                continue;
            };
            let ignored = set.map(|(other, _)| format!("{other} is ignored: {name} is set too"));
            self.warnings.extend(ignored);
            let items = split(entry.kind(), std::slice::from_ref(text));
            self.apply(entry, name.clone(), Some(&items), &quoted(text))?;
        }
        let variables: Vec<String> = OPTIONS.iter().map(Entry::variable).collect();
        for name in env.keys().filter(|name| is_stray(name) && !variables.contains(name)) {
            let near = suggestion(name, variables.iter().map(String::as_str));
            let name = quoted(name);
            self.warnings.push(format!("{}: no such variable{near}", name.trim_matches('"')));
        }
        Ok(())
    }

    fn read_flags(&mut self, args: &[String]) -> Result<(), ConfigError> {
        let found = flags::matches(args)?;
        for entry in OPTIONS {
            let values = flags::given(&found, entry);
            if !values.is_empty() {
                let items = split(entry.kind(), &values);
                let shown = quoted(&values.join(","));
                self.apply(entry, format!("--{}", entry.flag()), Some(&items), &shown)?;
            }
        }
        Ok(())
    }

    /// Stores one value, or says what was wrong with it; `None` is one of the wrong type.
    fn apply(
        &mut self,
        entry: &Entry,
        key: String,
        items: Option<&[String]>,
        shown: &str,
    ) -> Result<(), ConfigError> {
        if !items.is_some_and(|items| entry.set(&mut self.options, items)) {
            let shown = if entry.kind() == Kind::Secret { "***" } else { shown };
            return Err(ConfigError::refused(&key, shown, &entry.allowed()));
        }
        self.written.insert(entry.name, key);
        Ok(())
    }
}

/// A variable with our prefix that nobody reads. Kubernetes sets `COREWIRE_PORT…` and
/// `COREWIRE_SERVICE_…` in every pod beside a service of our name.
fn is_stray(name: &str) -> bool {
    name.strip_prefix("COREWIRE_")
        .is_some_and(|rest| !rest.starts_with("PORT") && !rest.starts_with("SERVICE_"))
}

/// The items of a value from outside the file; commas part a list.
fn split(kind: Kind, values: &[String]) -> Vec<String> {
    if kind != Kind::List {
        return values.to_vec();
    }
    let items = values.iter().flat_map(|value| value.split(',')).map(str::trim);
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn file_items(kind: Kind, value: &Value) -> Option<Vec<String>> {
    let item = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    match (kind, value) {
        (Kind::Bool, Value::Boolean(_)) | (Kind::Integer, Value::Integer(_)) => {
            Some(vec![value.to_string()])
        }
        (Kind::Text | Kind::Secret, Value::String(text)) => Some(vec![text.clone()]),
        (Kind::List, Value::String(text)) => Some(split(kind, std::slice::from_ref(text))),
        (Kind::List, Value::Array(items)) => items.iter().map(item).collect(),
        _ => None,
    }
}

/// A key as it stands in the file; quoted only if it must be.
fn bare(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if key.bytes().all(plain) { key.into() } else { quoted(key) }
}

/// The parser's own sentence, and where. Its picture of the line is left out: that line may hold
/// a key.
fn syntax(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    ConfigError::new(format!("{name}: line {line}, column {column}: {}", error.message()))
}
