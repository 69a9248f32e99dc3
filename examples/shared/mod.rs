//! What the examples share: options from flags and variables, and the lines they print.

#![expect(clippy::disallowed_methods, reason = "the environment is read here and handed in")]

use corewire::config::{self, Command, Loaded, Options};
use corewire::server::Server;

/// Reads the options of an example; ends the process with one line if they are wrong.
pub(crate) fn options(program: &'static str, base: Options) -> Loaded {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match read(program, base, &args) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{program}: {warning}");
            }
            loaded
        }
        Err(line) => {
            eprintln!("{program}: {line}");
            std::process::exit(2);
        }
    }
}

fn read(program: &'static str, base: Options, args: &[String]) -> Result<Loaded, String> {
    let (command, args) = config::parse_command(args).map_err(|error| error.line)?;
    if command == Command::Help {
        print!("{}", config::help(program, &base));
        std::process::exit(0);
    }
    let path = config::config_path(&args).map_err(|error| error.line)?;
    let text = match &path {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|why| format!("{path}: {why}"))?),
        None => None,
    };
    let file = path.as_deref().zip(text.as_deref());
    config::load(base, file, std::env::vars(), &args).map_err(|error| error.line)
}

/// Starts the server, says where it listens, serves until a signal ends it.
pub(crate) fn serve(server: Server) {
    let ended = server.start().map(|running| {
        running.greet_and_wait(|running| {
            for address in &running.addresses {
                println!("listening on {address}");
            }
            for address in &running.tls_addresses {
                println!("listening with TLS on {address}");
            }
            println!("admin on {}", running.admin_address);
        })
    });
    match ended {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
