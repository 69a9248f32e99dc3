//! The command line: commands, and a flag for every option, made from the table.

use super::options::{Entry, OPTIONS};
use super::shapes::Kind;
use super::{ConfigError, quoted, suggestion};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};
use std::sync::LazyLock;

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve,
    /// Read the configuration, say whether it is in order, and end.
    CheckConfig,
    /// Check the machine this would run on.
    Doctor,
    /// Print a configuration file.
    DefaultConfig,
    /// Print the reference of options.
    ConfigReference,
    /// Print the policies a broker should have.
    RabbitmqPolicy,
    /// Make or check tokens.
    Token,
    /// Print the version.
    Version,
    /// Print the help.
    Help,
}

/// Word, meaning, help.
pub(super) const COMMANDS: [(&str, Command, &str); 9] = [
    ("serve", Command::Serve, "Run the server (the default)"),
    ("check-config", Command::CheckConfig, "Check the configuration and end"),
    ("doctor", Command::Doctor, "Check this machine (--format json for programs) and end"),
    ("default-config", Command::DefaultConfig, "Print a configuration file with every option"),
    ("config-reference", Command::ConfigReference, "Print the reference of every option"),
    ("rabbitmq-policy", Command::RabbitmqPolicy, "Print the policies RabbitMQ should have"),
    ("token", Command::Token, "Make a token, or check one (token help says how)"),
    ("version", Command::Version, "Print the version"),
    ("help", Command::Help, "Print this help"),
];

/// Takes the command off `args` (the arguments without the program's name): it stands first, or
/// is a `--help` or `--version` anywhere.
///
/// # Errors
/// An unknown command.
pub fn parse_command(args: &[String]) -> Result<(Command, Vec<String>), ConfigError> {
    let asked = |flags: [&str; 2]| args.iter().any(|arg| flags.contains(&arg.as_str()));
    if asked(["--help", "-h"]) {
        return Ok((Command::Help, Vec::new()));
    }
    if asked(["--version", "-V"]) {
        return Ok((Command::Version, Vec::new()));
    }
    match args.split_first() {
        Some((word, rest)) if !word.starts_with('-') => {
            match COMMANDS.iter().find(|(name, ..)| name == word) {
                Some((_, command, _)) => Ok((*command, rest.to_vec())),
                None => {
                    let names = COMMANDS.map(|(name, ..)| name).join(", ");
                    let line = format!("{}: no such command; allowed are {names}", quoted(word));
                    Err(ConfigError::new(line))
                }
            }
        }
        _ => Ok((Command::Serve, args.to_vec())),
    }
}

/// Takes `--format text` or `--format json`, which only `doctor` has, off `args`: whether it is
/// JSON, and what is left.
///
/// # Errors
/// Another format, or none.
pub fn take_format(args: &[String]) -> Result<(bool, Vec<String>), ConfigError> {
    let (mut json, mut rest) = (false, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = match arg.strip_prefix("--format") {
            Some("") => args.next().map(String::as_str),
            Some(value) if value.starts_with('=') => value.strip_prefix('='),
            _ => {
                rest.push(arg.clone());
                continue;
            }
        };
        json = match value {
            Some("json") => true,
            Some("text") => false,
            other => {
                let other = quoted(other.unwrap_or_default());
                return Err(ConfigError::refused("--format", &other, "text or json"));
            }
        };
    }
    Ok((json, rest))
}

/// The file that `--config` names.
///
/// # Errors
/// Any mistake in the arguments that needs no look at an option's value.
pub fn config_path(args: &[String]) -> Result<Option<String>, ConfigError> {
    Ok(matches(args)?.get_one::<String>("config").cloned())
}

/// The flags in `args`, each as one word with its value, for a line that is shown: keys and secrets
/// are left out.
///
/// # Errors
/// Any mistake in the arguments that needs no look at an option's value.
pub fn shown_flags(args: &[String]) -> Result<Vec<String>, ConfigError> {
    let found = matches(args)?;
    let config = found.get_one::<String>("config").map(|path| format!("--config={path}"));
    let shown = OPTIONS.iter().filter(|entry| entry.kind() != Kind::Secret).flat_map(|entry| {
        let flag = entry.flag();
        given(&found, entry).into_iter().map(move |value| format!("--{flag}={value}"))
    });
    Ok(config.into_iter().chain(shown).collect())
}

/// What the flags say of `entry`: every value as it was written.
pub(super) fn given(found: &ArgMatches, entry: &Entry) -> Vec<String> {
    found.get_many::<String>(entry.name).into_iter().flatten().cloned().collect()
}

pub(super) fn matches(args: &[String]) -> Result<ArgMatches, ConfigError> {
    let command = arguments(clap::Command::new("corewire").no_binary_name(true));
    command.try_get_matches_from(args).map_err(|error| one_line(&error))
}

/// Flags' names for as long as the program runs, as clap wants them.
static FLAGS: LazyLock<Vec<String>> = LazyLock::new(|| OPTIONS.iter().map(Entry::flag).collect());

/// Adds `--config` and the flag of every option.
pub(super) fn arguments(command: clap::Command) -> clap::Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file with options; without it corewire.toml is read, if there is one.");
    let mut command = command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(file);
    for (entry, flag) in OPTIONS.iter().zip(FLAGS.iter()) {
        command = command.arg(argument(entry, flag));
    }
    command
}

fn argument(entry: &Entry, flag: &'static str) -> Arg {
    let arg = Arg::new(entry.name).long(flag).help_heading(entry.section);
    let arg = arg.allow_negative_numbers(true);
    match entry.kind() {
        Kind::Bool => {
            let arg = arg.num_args(0..=1).require_equals(true);
            arg.default_missing_value("true").value_name("BOOL")
        }
        Kind::Integer => arg.value_name(match entry.unit() {
            "ms" => "MS",
            "bytes" => "BYTES",
            _ => "N",
        }),
        Kind::Text if entry.name.ends_with("listen") => arg.value_name("ADDR:PORT"),
        Kind::List if entry.name.ends_with("listen") => {
            arg.action(ArgAction::Append).value_name("ADDR:PORT")
        }
        Kind::Text => arg.value_name("TEXT"),
        Kind::Secret => arg.value_name("SECRET"),
        Kind::List => arg.action(ArgAction::Append).value_name("LIST"),
    }
}

/// clap writes paragraphs; an operator's log wants one line that names flag and remedy.
fn one_line(error: &clap::Error) -> ConfigError {
    let written = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    // clap shows a flag with the name of its value: `--listen <ADDR:PORT>`.
    let flag = written.split([' ', '=', '[']).next().unwrap_or_default();
    let name = flag.trim_start_matches('-');
    let entry = OPTIONS.iter().find(|entry| entry.flag() == name);
    let allowed = entry.map_or_else(|| "a file's name".into(), Entry::allowed);
    ConfigError::new(match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let near = suggestion(name, FLAGS.iter().map(String::as_str).chain(["config"]));
            let near = near.replace("mean ", "mean --");
            format!("{}: no such flag{near}", quoted(flag).trim_matches('"'))
        }
        ErrorKind::UnknownArgument => {
            let hint = "a command stands first, and a flag starts with --";
            format!("{}: allowed are flags only; {hint}", quoted(&written))
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues => {
            format!("{flag}: its value is missing: allowed is {allowed}")
        }
        _ => format!("{flag}: allowed is {allowed}"),
    })
}
