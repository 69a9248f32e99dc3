//! The `corewire` command: the gateway, and what one wants to know of its configuration.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "the environment is read here and handed in")]
#![expect(unsafe_code, reason = "it is also written, before there are threads")]

mod token;

use std::io::Write as _;
use std::process::ExitCode;

use corewire::config::{self, Command, Loaded, Options};
use corewire::doctor::{Facts, Report};
use corewire::server::{Running, Server, StartError};
use corewire::survey;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The file that is read if it is there and no other is named.
const DEFAULT_FILE: &str = "corewire.toml";

fn main() -> ExitCode {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let args: Vec<String> = std::env::args_os().skip(1).map(text).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            warn(&error);
            ExitCode::from(if matches!(error, StartError::Config(_)) { 2 } else { 1 })
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode, StartError> {
    let (command, args) = config::parse_command(args)?;
    match command {
        Command::Serve => serve(&args)?,
        Command::Doctor => return doctor(&args),
        Command::Token => return token::run(&args, load),
        Command::CheckConfig => {
            let loaded = load(&args)?;
            corewire::server::token_keys(&loaded.tables)?;
            corewire::bridge::check_rabbitmq_files(&loaded.options, false)
                .map_err(StartError::Unfit)?;
            for warning in corewire::server::check_certificate(&loaded.options)? {
                warn(&format_args!("warning: {warning}"));
            }
            say("the configuration is fine\n");
            drop(loaded);
        }
        Command::DefaultConfig => say(&config::default_toml()),
        Command::RabbitmqPolicy => {
            say(&corewire::bridge::rabbitmq_policies(&load(&args)?.options));
        }
        Command::ConfigReference => say(&config::reference_markdown()),
        Command::Version => say(concat!("corewire ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Help => say(&config::help("corewire", &Options::gateway())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what should be changed on this machine; 1 is for what would break a deployment.
fn doctor(args: &[String]) -> Result<ExitCode, StartError> {
    let (json, args) = config::take_format(args)?;
    let args_shown = config::shown_flags(&args)?;
    let facts = Facts { args: args_shown, ..survey::facts(&load(&args)?)? };
    let report = Report::new(&facts);
    say(&if json { report.json() } else { report.text() });
    Ok(if report.breaks() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn load(args: &[String]) -> Result<Loaded, StartError> {
    let named = config::config_path(args)?;
    let present = || std::path::Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.to_owned());
    let path = named.or_else(present);
    let text = match &path {
        Some(path) => Some(corewire::server::read_text(path)?),
        None => None,
    };
    let file = path.as_deref().zip(text.as_deref());
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
    let loaded = config::load(Options::gateway(), file, variables, args)?;
    let open = config::open_warnings(&loaded.options, &loaded.tables);
    for warning in loaded.warnings.iter().chain(&open) {
        warn(&format_args!("warning: {warning}"));
    }
    Ok(loaded)
}

fn serve(args: &[String]) -> Result<(), StartError> {
    let loaded = load(args)?;
    if loaded.options.rabbitmq_url.is_some() {
        deepen_stacks();
    }
    let running = Server::gateway(loaded.options, loaded.tables).start()?;
    if running.greet_and_wait(greet) { Ok(()) } else { Err(StartError::Hangs) }
}

/// Gives threads that say nothing of their stack one that suffices for the broker's library,
/// unless somebody has set another. It is address space, memory only as far as it is used.
fn deepen_stacks() {
    const VARIABLE: &str = "RUST_MIN_STACK";
    if std::env::var_os(VARIABLE).is_none() {
        let bytes = corewire::bridge::RABBITMQ_STACK_BYTES.to_string();
        // SAFETY: no other thread could read the environment meanwhile: the first one is started
        // by the server, which there is not yet.
        unsafe { std::env::set_var(VARIABLE, bytes) };
    }
}

/// Says what is listened on, and a line to try.
fn greet(running: &Running) {
    let mut lines = String::new();
    for address in &running.addresses {
        lines.push_str(&format!("listening on {address}\n"));
    }
    for address in &running.tls_addresses {
        lines.push_str(&format!("listening with TLS on {address}\n"));
    }
    let admin = running.admin_address;
    lines.push_str(&format!("admin on {admin}\ntry: curl http://{admin}/socket/stats\n"));
    say(&lines);
}

/// Writes to the terminal. Whoever started us may have stopped reading, which ends nothing.
fn say(text: &str) {
    let _unread = std::io::stdout().write_all(text.as_bytes());
}

/// Writes a line to whoever reads the errors.
fn warn(line: &dyn std::fmt::Display) {
    let _unread = writeln!(std::io::stderr(), "corewire: {line}");
}
