//! From a file and the command line to a checked scenario.

use std::path::Path;

use super::{Kind, Scenario};

/// Reads a scenario file and applies `--set` lines to it.
///
/// # Errors
/// One line: the file cannot be read, or [`parse`] refuses it.
pub fn read(path: &Path, sets: &[String]) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| format!("{}: {why}; name a scenario file", path.display()))?;
    parse(&text, sets).map_err(|why| format!("{}: {why}", path.display()))
}

/// Makes a scenario of a file's text; each of `sets` is a `key=value` that replaces a key, with a
/// dot before a key of a table.
///
/// # Errors
/// One line that names the key and what is allowed.
pub fn parse(text: &str, sets: &[String]) -> Result<Scenario, String> {
    let mut table: toml::Table = toml::from_str(text).map_err(|why| flat(&why.to_string()))?;
    for line in sets {
        set(&mut table, line)?;
    }
    let scenario: Scenario =
        toml::Value::Table(table).try_into().map_err(|why| flat(&why.to_string()))?;
    check(&scenario)?;
    Ok(scenario)
}

/// A message of several lines as one.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn set(table: &mut toml::Table, line: &str) -> Result<(), String> {
    let (key, value) =
        line.split_once('=').ok_or_else(|| format!("--set {line}: write key=value"))?;
    let (key, value) = (key.trim(), value.trim());
    // A value that is no TOML is a string without its quotes.
    let value = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut place = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            place.insert(part.to_owned(), value);
            return Ok(());
        }
        let inner = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = inner.as_table_mut().ok_or_else(|| format!("--set {key}: {part} is no table"))?;
    }
    Ok(())
}

fn check(scenario: &Scenario) -> Result<(), String> {
    let at_least = |key: &str, value: f64, least: f64| {
        if value >= least { Ok(()) } else { Err(format!("{key} = {value}: at least {least}")) }
    };
    at_least("connections", scenario.connections.into(), 1.0)?;
    at_least("connect_window", scenario.connect_window.into(), 1.0)?;
    at_least("threads", scenario.threads.into(), 1.0)?;
    at_least("outstanding", scenario.outstanding.into(), 1.0)?;
    at_least("seconds", scenario.seconds, 0.1)?;
    at_least("warmup_seconds", scenario.warmup_seconds, 0.0)?;
    at_least("payload_bytes", scenario.payload_bytes.into(), 60.0)?;
    if scenario.payload_bytes > 400_000 {
        return Err(format!("payload_bytes = {}: at most 400000", scenario.payload_bytes));
    }
    if scenario.connections + scenario.publishers >= 1 << 24 {
        return Err(format!("connections = {}: below 2^24", scenario.connections));
    }
    if let Some(rate) = scenario.rate {
        at_least("rate", rate, 0.001)?;
    }
    if scenario.kind == Kind::Rooms {
        at_least("room_size", scenario.room_size.into(), 1.0)?;
        at_least("rooms_per_connection", scenario.rooms_per_connection.into(), 1.0)?;
        if !scenario.connections.is_multiple_of(scenario.room_size) {
            return Err(format!(
                "connections = {}: a multiple of room_size = {}",
                scenario.connections, scenario.room_size
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{App, Transport};

    const ECHO: &str = "name = \"e\"\nkind = \"echo\"\n";

    #[test]
    fn two_keys_are_enough_and_the_rest_is_written_back() {
        let scenario = parse(ECHO, &[]).unwrap();
        assert_eq!((scenario.kind, scenario.app), (Kind::Echo, App::Bench));
        let written = toml::to_string(&scenario).unwrap();
        assert!(written.contains("payload_bytes = 64"));
        assert_eq!(parse(&written, &[]).unwrap(), scenario);
    }

    #[test]
    fn set_replaces_keys_of_every_type() {
        let sets = ["connections=7", "rate = 12.5", "transport=polling", "busy_poll=false"];
        let scenario = parse(ECHO, &sets.map(String::from)).unwrap();
        assert_eq!((scenario.connections, scenario.rate), (7, Some(12.5)));
        assert_eq!((scenario.transport, scenario.busy_poll), (Transport::Polling, false));
    }

    #[test]
    fn what_is_wrong_is_named_in_one_line() {
        for (sets, word) in [
            (["conections=7"], "conections"),
            (["connections=0"], "connections = 0: at least 1"),
            (["kind=dance"], "dance"),
            (["connections"], "key=value"),
            (["payload_bytes=10"], "payload_bytes = 10: at least 60"),
            (["name.x=1"], "no table"),
        ] {
            let error = parse(ECHO, &sets.map(String::from)).unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let error = parse("name = \"r\"\nkind = \"rooms\"\nconnections = 7", &[]).unwrap_err();
        assert!(error.contains("room_size = 5"), "{error}");
    }
}
