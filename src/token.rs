//! `corewire token`: makes tokens with the keys of the configuration, and checks them.

use std::io::Read as _;
use std::process::ExitCode;

use corewire::auth::{self, Claims, Signer, TOKEN_BYTES_MAX, TokenError, TokenPlan, TokenRules};
use corewire::command::unix_ms;
use corewire::config::{ConfigError, JwtKey, JwtMaterial, Loaded};
use corewire::server::{StartError, token_keys};

const HELP: &str = "\
corewire token make --user USER [options]    prints a token
  --session SESSION     sid
  --ttl TIME            how long it lives: 90s, 15m, 1h (default), 7d
  --id ID               jti
  --room ROOM           put its bearer into a room (may be repeated)
  --join PATTERN        permit joining such rooms (may be repeated)
  --emit PATTERN        permit publishing there (may be repeated)
  --namespace NAME      only these namespaces (may be repeated)
  --label NAME=VALUE    a label (may be repeated)
  --audience NAME       aud; else the first of jwt_audience
  --key KID             sign with this key of [[jwt_keys]]; else with the first that can
corewire token check TOKEN                   prints its claims, or why it is refused; - reads it
                                             from standard input, where no other user sees it
Both read the configuration, and take its flags, as the server does. Exit codes: 0 is a token that
is good, 1 one that is refused, 2 a mistake in the arguments or the configuration, or a file that
cannot be read.
";

fn wrong(line: String) -> StartError {
    StartError::Config(ConfigError { line })
}

/// Runs the command. `load` reads the configuration from the arguments that are left.
pub(crate) fn run(
    args: &[String],
    load: impl FnOnce(&[String]) -> Result<Loaded, StartError>,
) -> Result<ExitCode, StartError> {
    let outcome = match args.split_first() {
        Some((word, rest)) if word == "make" => make(rest, load),
        Some((word, rest)) if word == "check" => check(rest, load),
        Some((word, _)) if word == "help" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(wrong("token: allowed are make, check and help".into())),
    };
    // A file that cannot be read must not look like a token that is refused.
    outcome.map_err(|error| match error {
        StartError::File { .. } | StartError::Unfit(_) => wrong(error.to_string()),
        other => other,
    })
}

/// What is wished for, and the arguments that are the configuration's.
#[derive(Default)]
struct Wish {
    plan: TokenPlan,
    kid: Option<String>,
    rest: Vec<String>,
}

fn read_wish(args: &[String]) -> Result<Wish, StartError> {
    let mut wish = Wish::default();
    let mut ttl_s = 3_600;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (flag, written) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        const OWN: [&str; 11] = [
            "--user",
            "--session",
            "--ttl",
            "--id",
            "--room",
            "--join",
            "--emit",
            "--namespace",
            "--label",
            "--key",
            "--audience",
        ];
        if !OWN.contains(&flag) {
            wish.rest.push(arg.clone());
            continue;
        }
        let missing = || wrong(format!("{flag}: its value is missing"));
        let value = written.or_else(|| args.next().cloned()).ok_or_else(missing)?;
        let plan = &mut wish.plan;
        match flag {
            "--user" => plan.user = value,
            "--session" => plan.session = Some(value),
            "--id" => plan.token_id = Some(value),
            "--room" => plan.rooms.push(value),
            "--join" => plan.caps.push((value, vec!["join".into()])),
            "--emit" => plan.caps.push((value, vec!["emit".into()])),
            "--namespace" => plan.namespaces.push(value),
            "--audience" => plan.audience = Some(value),
            "--key" => wish.kid = Some(value),
            "--ttl" => {
                let allowed = "--ttl: allowed is a number of s, m, h or d, such as 15m";
                ttl_s = seconds(&value).ok_or_else(|| wrong(allowed.into()))?;
            }
            _ => {
                let allowed = || wrong("--label: allowed is NAME=VALUE".into());
                let (name, value) = value.split_once('=').ok_or_else(allowed)?;
                plan.labels.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    if wish.plan.user.is_empty() {
        return Err(wrong("--user: it is missing".into()));
    }
    wish.plan.issued_unix_s = unix_ms() / 1_000;
    wish.plan.expires_unix_s = wish.plan.issued_unix_s + ttl_s;
    Ok(wish)
}

fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let (number, factor) = match unit {
        's' => (text.strip_suffix('s')?, 1),
        'm' => (text.strip_suffix('m')?, 60),
        'h' => (text.strip_suffix('h')?, 3_600),
        'd' => (text.strip_suffix('d')?, 86_400),
        _ => (text, 1),
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(factor)
        .filter(|seconds| (1..=3_153_600_000).contains(seconds))
}

fn make(
    args: &[String],
    load: impl FnOnce(&[String]) -> Result<Loaded, StartError>,
) -> Result<ExitCode, StartError> {
    let Wish { mut plan, kid, rest } = read_wish(args)?;
    let Loaded { options, tables, .. } = load(&rest)?;
    let rules = TokenRules::from(&options);
    plan.issuer = rules.issuer.first().cloned();
    plan.audience = plan.audience.or_else(|| rules.audience.first().cloned());
    let claims = plan.claims();
    // A token that the server would not take is not made.
    Claims::read(claims.to_string().as_bytes())
        .map_err(|error| wrong(format!("token make: {}", error.message())))?;
    let can_sign = |key: &&JwtKey| {
        matches!(key.material, JwtMaterial::Secret(_)) || key.private_key_file.is_some()
    };
    let is_meant = |key: &&JwtKey| kid.is_none() || key.kid == kid;
    let key = tables.jwt_keys.iter().filter(can_sign).find(is_meant).ok_or_else(|| {
        let line = "no such key can sign; set jwt_secret, or a secret or private_key_file in \
                    [[jwt_keys]]";
        wrong(format!("token make: {line}"))
    })?;
    let signed = signer(key)?.sign(&claims);
    println!("{}", signed.map_err(|fault| wrong(format!("token make: the key {fault}")))?);
    Ok(ExitCode::SUCCESS)
}

fn signer(key: &JwtKey) -> Result<Signer, StartError> {
    let (alg, kid) = (key.algs[0], key.kid.as_deref());
    if let JwtMaterial::Secret(secret) = &key.material
        && let Some(signer) = Signer::secret(alg, kid, secret.expose().as_bytes())
    {
        return Ok(signer);
    }
    let path = key.private_key_file.clone().unwrap_or_default();
    let text = corewire::server::read_text(&path)?;
    Signer::private_pem(alg, kid, &text).map_err(|fault| wrong(format!("{path} {fault}")))
}

fn check(
    args: &[String],
    load: impl FnOnce(&[String]) -> Result<Loaded, StartError>,
) -> Result<ExitCode, StartError> {
    let Some((token, rest)) = args.split_first().filter(|(word, _)| !word.starts_with("--")) else {
        return Err(wrong("token check: the token is missing; - reads it".into()));
    };
    let mut token = token.clone();
    if token == "-" {
        token.clear();
        let some = (TOKEN_BYTES_MAX * 2) as u64;
        std::io::stdin()
            .take(some)
            .read_to_string(&mut token)
            .map_err(|error| StartError::File { path: "standard input".into(), error })?;
    }
    let Loaded { options, tables, .. } = load(rest)?;
    let keys = token_keys(&tables)?;
    let rules = TokenRules::from(&options);
    match auth::verify(token.trim(), &keys, &rules, unix_ms()) {
        Ok(_) => {
            println!("{}", payload(token.trim()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("corewire: {}: {}", error.code(), error.message());
            let published = !options.jwks_url.is_empty() || !options.oidc_issuer.is_empty();
            if error == TokenError::UnknownKey && published {
                eprintln!("corewire: only keys of the configuration were tried, no published ones");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The claims of a token that has been verified, as they stand there.
fn payload(token: &str) -> String {
    auth::payload(token).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}
