//! Pages made from the table: help, reference, a file to start from.

use super::checks::shown;
use super::flags::{COMMANDS, arguments};
use super::options::{Entry, OPTIONS, Options};
use super::shapes::Kind;
use clap::{Arg, ArgAction};

const HELP_COLUMNS: usize = 88;
const FILE_COLUMNS: usize = 96;

/// The help of `program`, with the defaults of `base`.
#[must_use]
pub fn help(program: &'static str, base: &Options) -> String {
    let switch = |name, letter, help| {
        let arg = Arg::new(name).long(name).short(letter);
        arg.help(help).action(ArgAction::SetTrue)
    };
    let command = clap::Command::new(program)
        .about("A thread-per-core Socket.IO server.")
        .after_help(
            "Later wins: built-in defaults, the file, the environment, flags. Commas part the\n\
             items of a LIST, and its flag may be repeated.",
        )
        .disable_help_subcommand(true)
        .next_line_help(true);
    let commands = COMMANDS.map(|(name, _, about)| clap::Command::new(name).about(about));
    let mut command = arguments(command.subcommands(commands))
        .arg(switch("help", 'h', "Print this help."))
        .arg(switch("version", 'V', "Print the version."));
    for entry in OPTIONS {
        let value = match entry.get(base).join(",") {
            none if none.is_empty() => "none".into(),
            value => value,
        };
        let allowed = entry.allowed();
        let variables = variables(entry).join(", ");
        let facts = format!("[default: {value}] [allowed: {allowed}] [variable: {variables}]");
        let mut lines = wrapped(entry.help, HELP_COLUMNS);
        lines.extend(wrapped(&facts, HELP_COLUMNS));
        command = command.mut_arg(entry.name, |arg| arg.help(lines.join("\n")));
    }
    command.render_help().to_string()
}

/// The reference of every option, in Markdown, with the defaults of the `corewire` binary.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "Every option of `corewire`. Later wins: built-in default, TOML file (`--config FILE`, \
         or\n`corewire.toml` if there is one), environment variable, flag. In variables and \
         flags, commas\npart the items of a list. This page is made from the table in \
         `config/options.rs`.\n\n\
         *changes with* says what has a change taken into use. No value changes while the server \
         runs: `start` is\nthe next start, which may be that of a successor (`--takeover`). \
         Where it is another word, the file that the\noption names is read again: `reload` is \
         SIGHUP, or the look that is taken every `tls_watch_ms`, and `connect`\nthe next \
         connection to the broker.\n",
    );
    let base = Options::gateway();
    for (section, entries) in sections() {
        page += &format!(
            "\n## {section}\n\n\
             | key | flag | variable | default | allowed | changes with | meaning |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        for entry in entries {
            let (name, flag) = (entry.name, entry.flag());
            let variables = variables(entry).join("`, `");
            let default = match default(entry, &base) {
                Some(text) => format!("`{text}`"),
                None => "none".into(),
            };
            let (allowed, help) = (cell(&entry.allowed()), cell(entry.help));
            let changes = entry.changes.word();
            page += &format!(
                "| `{name}` | `--{flag}` | `{variables}` | {default} | {allowed} | {changes} | \
                 {help} |\n"
            );
        }
    }
    page
}

/// A file with every option at the default of the `corewire` binary, each behind a `#` without a
/// space: take it away to set the option.
#[must_use]
pub fn default_toml() -> String {
    let mut file = String::from(
        "# Options of corewire, each at its default. Take away the # before a key to set it.\n\
         # The environment wins over this file, and flags win over the environment.\n",
    );
    let base = Options::gateway();
    for (section, entries) in sections() {
        file += &format!("\n# ---- {section} ----\n");
        for entry in entries {
            let allowed = format!("Allowed: {}.", entry.allowed());
            let mut lines = wrapped(entry.help, FILE_COLUMNS);
            lines.extend(wrapped(&allowed, FILE_COLUMNS));
            file += &format!("\n# {}\n", lines.join("\n# "));
            file += &match default(entry, &base) {
                Some(text) => format!("#{} = {text}\n", entry.name),
                None => format!("# {} = \"…\"\n", entry.name),
            };
        }
    }
    file + TABLES
}

const TABLES: &str = r#"
# ---- Tables: they stand last ----

# API keys. Scopes: emit (messages, notifications, rooms), read (statistics), admin.
# [[api_keys]]
# name = "back end"
# key = "…"
# scopes = ["emit", "read"]

# Who may join and publish where; * is any characters, ? any one. No rule opens the rooms user:*
# and session:*, nor a socket's own.
# [[rules]]
# namespace = "/"
# users = ["*"]
# rooms = ["chat:*"]
# allow = ["join", "publish"]

# Which client events go to a back end. A pattern takes unknown ones if unknown_event is "route".
# ack: confirm (it has the event), reply (its answer is the acknowledgement), immediate.
# [[routes]]
# namespace = "/"
# event = "ai_request"
# to = "rabbitmq"
# ack = "confirm"
# timeout_ms = 30000

# What events of yours must be like, and how many a second one socket may send.
# [[events]]
# name = "order:*"
# per_second = 5
# burst = 10
# payload_bytes_max = 4096
# required = ["id"]
# members = { id = "name", kind = ["small", "large"], amount = "number:0..100", note = "text:500" }
# only = true

# Keys that tokens of clients are signed with, each with the algorithms it may be used with. A key
# without kid is tried for every token. private_key_file is for the command `corewire token`.
# [[jwt_keys]]
# kid = "2026"
# algs = ["ES256"]
# public_key = "/etc/corewire/issuer.pem"
"#;

/// The table by its headings.
fn sections() -> impl Iterator<Item = (&'static str, &'static [Entry])> {
    let parts = OPTIONS.chunk_by(|one, next| one.section == next.section);
    parts.map(|entries| (entries[0].section, entries))
}

/// Its variables, ours first.
fn variables(entry: &Entry) -> Vec<String> {
    let older = entry.also.iter().map(ToString::to_string);
    std::iter::once(entry.variable()).chain(older).collect()
}

/// In the file's notation; `None` for a secret, which has none.
fn default(entry: &Entry, base: &Options) -> Option<String> {
    (entry.kind() != Kind::Secret).then(|| shown(entry.kind(), &entry.get(base)))
}

/// A bar ends a cell, and a star may begin emphasis.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

/// Lines of at most `columns`, or of one longer word.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}
