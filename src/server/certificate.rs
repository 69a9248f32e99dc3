//! The certificate of the TLS listeners: read, judged, and read again when its files change.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::StartError;
use crate::config::Options;
use crate::disk;

/// What is spoken on a connection with TLS.
const ALPN: &[u8] = b"http/1.1";
/// Days before its end from which on a certificate is a matter for a warning.
const WARN_DAYS: u64 = 14;
const DAY_S: u64 = 86_400;

/// The two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    certificate: String,
    key: String,
}

/// By what one knows that a file has changed: when, how large, and which file it is.
pub(super) type Stamp = [(i64, i64, u64, u64); 2];

/// A certificate with its key, ready for use.
pub(super) struct Identity {
    pub(super) config: Arc<ServerConfig>,
    /// When it ends, seconds since the epoch; `None` if that cannot be read.
    pub(super) ends_s: Option<u64>,
    /// What an operator should know.
    pub(super) warnings: Vec<String>,
}

/// Why the files cannot be used: one line that names the option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Files {
    /// The options that name them: the certificate, then its key.
    const OPTIONS: [&str; 2] = ["tls_cert_file", "tls_key_file"];

    /// The files of the configuration, if anything has TLS.
    pub(super) fn of(options: &Options) -> Option<Self> {
        (!options.tls_listen.is_empty()).then(|| Self {
            certificate: options.tls_cert_file.clone(),
            key: options.tls_key_file.clone(),
        })
    }

    /// By what a change would be seen; `None` if a file is not there.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let one = |path: &str| {
            let file = fs::metadata(path).ok()?;
            Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
        };
        Some([one(&self.certificate)?, one(&self.key)?])
    }

    /// Reads both. Sessions that `before` has issued tickets for go on with the new one.
    ///
    /// # Errors
    /// A file cannot be read, or what stands there does not fit.
    pub(super) fn load(
        &self,
        before: Option<&ServerConfig>,
        now_s: u64,
    ) -> Result<Identity, Unusable> {
        let chain = self.chain()?;
        let ends_s = chain.first().and_then(|leaf| ends_s(leaf));
        let key = self.key()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let fail = |error: &rustls::Error| self.misfit(error);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| fail(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| fail(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = match before {
            Some(before) => Arc::clone(&before.ticketer),
            None => rustls::crypto::ring::Ticketer::new().map_err(|error| fail(&error))?,
        };
        let warnings = self.warnings(ends_s, now_s);
        Ok(Identity { config: Arc::new(config), ends_s, warnings })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let [option, _] = Self::OPTIONS;
        let text = read(option, &self.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.map_err(|error| unusable(option, &self.certificate, &error))?;
        if chain.is_empty() {
            let why = "no certificate stands there; name one in PEM form, with its chain";
            return Err(unusable(option, &self.certificate, &why));
        }
        Ok(chain)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Unusable> {
        let [_, option] = Self::OPTIONS;
        PrivateKeyDer::from_pem_slice(&read(option, &self.key)?).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                let why = "no private key stands there; name one in PEM form, not encrypted";
                unusable(option, &self.key, &why)
            }
            error => unusable(option, &self.key, &error),
        })
    }

    /// What is wrong where each file by itself could be read.
    fn misfit(&self, error: &rustls::Error) -> Unusable {
        let [chain_option, key_option] = Self::OPTIONS;
        if !matches!(error, rustls::Error::InconsistentKeys(_)) {
            return unusable(chain_option, &self.certificate, error);
        }
        let Self { certificate, key } = self;
        let why = format!(
            "it is not the key of {chain_option} = {certificate:?}; name the one it was made with"
        );
        unusable(key_option, key, &why)
    }

    fn warnings(&self, ends_s: Option<u64>, now_s: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(line) = ends_s.and_then(|ends_s| ending_soon(ends_s, now_s)) {
            lines.push(format!("tls_cert_file {:?}: {line}", self.certificate));
        }
        let mode = fs::metadata(&self.key).map_or(0, |file| file.mode());
        if mode & 0o077 != 0 {
            lines.push(format!(
                "tls_key_file {:?}: others than its owner can reach it (mode {:o}); chmod 600",
                self.key,
                mode & 0o777
            ));
        }
        lines
    }
}

/// Whether the certificate that the configuration names can be used, as a start would find out;
/// what is worth a warning about it.
///
/// # Errors
/// It cannot: a start would fail.
pub fn check_certificate(options: &Options) -> Result<Vec<String>, StartError> {
    let Some(files) = Files::of(options) else { return Ok(Vec::new()) };
    Ok(files.load(None, super::renewal::now_s())?.warnings)
}

impl From<Unusable> for StartError {
    fn from(unusable: Unusable) -> Self {
        Self::Certificate(unusable.0)
    }
}

/// A line if a certificate ends soon, or has ended.
pub(super) fn ending_soon(ends_s: u64, now_s: u64) -> Option<String> {
    match ends_s.checked_sub(now_s) {
        None | Some(0) => Some(String::from("the certificate has ended; clients refuse it")),
        Some(left_s) if left_s < WARN_DAYS * DAY_S => {
            Some(format!("the certificate ends in {} days", left_s / DAY_S))
        }
        Some(_) => None,
    }
}

fn ends_s(leaf: &CertificateDer<'_>) -> Option<u64> {
    let leaf = Certificate::from_der(leaf).ok()?;
    let ends: Duration = leaf.tbs_certificate.validity.not_after.to_unix_duration();
    Some(ends.as_secs())
}

fn read(option: &str, path: &str) -> Result<Vec<u8>, Unusable> {
    disk::read(Path::new(path)).map_err(|unread| {
        unusable(option, path, &format_args!("{unread}; name a file in PEM form"))
    })
}

fn unusable(option: &str, path: &str, why: &dyn fmt::Display) -> Unusable {
    Unusable(format!("{option} = {path:?}: cannot be used ({why})").replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Changes, OPTIONS};
    use crate::scratch::Folder;
    use std::os::unix::fs::PermissionsExt;

    fn write(folder: &Folder, name: &str, text: &str, mode: u32) -> String {
        let path = folder.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn identity() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_that_fits_is_taken_and_one_that_does_not_is_named() {
        let folder = Folder::new();
        let (certificate, key) = identity();
        let (_, other) = identity();
        let files = Files {
            certificate: write(&folder, "c.pem", &certificate, 0o644),
            key: write(&folder, "k.pem", &key, 0o600),
        };
        let good = files.load(None, 0).unwrap();
        assert_eq!((good.warnings, good.config.alpn_protocols.len()), (Vec::<String>::new(), 1));
        assert!(good.ends_s.is_some_and(|ends| ends > 1_700_000_000));
        let again = files.load(Some(&good.config), 0).unwrap();
        assert!(Arc::ptr_eq(&again.config.ticketer, &good.config.ticketer), "tickets stay good");

        let open = Files { key: write(&folder, "o.pem", &key, 0o640), ..files.clone() };
        assert!(open.load(None, 0).unwrap().warnings[0].contains("mode 640"));
        let wrong = Files { key: write(&folder, "w.pem", &other, 0o600), ..files.clone() };
        let empty = Files { certificate: write(&folder, "e.pem", "", 0o600), ..files.clone() };
        let none = Files { certificate: write(&folder, "n.pem", &key, 0o600), ..files.clone() };
        let nothing = Files { key: write(&folder, "z.pem", "", 0o600), ..files.clone() };
        let missing = Files { key: String::from("/nowhere/k.pem"), ..files.clone() };
        // Who reads that two do not fit has to look at both.
        let line = wrong.load(None, 0).err().unwrap().to_string();
        assert!(line.contains("w.pem") && line.contains("c.pem"), "{line}");
        let line = nothing.load(None, 0).err().unwrap().to_string();
        assert!(line.contains("no private key stands there"), "{line}");
        for (files, option) in [
            (wrong, "tls_key_file"),
            (nothing, "tls_key_file"),
            (empty, "tls_cert_file"),
            (none, "tls_cert_file"),
            (missing, "tls_key_file"),
        ] {
            let line = files.load(None, 0).err().unwrap().to_string();
            assert!(line.starts_with(option) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn what_is_read_again_is_what_the_table_says() {
        let told = OPTIONS.iter().filter(|entry| entry.changes == Changes::Reload);
        assert!(told.map(|entry| entry.name).eq(Files::OPTIONS));
    }

    #[test]
    fn an_end_that_is_near_is_said() {
        let now = 1_000 * DAY_S;
        assert_eq!(ending_soon(now + 15 * DAY_S, now), None);
        assert!(ending_soon(now + 3 * DAY_S, now).unwrap().contains("in 3 days"));
        assert!(ending_soon(now, now).unwrap().contains("has ended"));
        assert!(ending_soon(now - 1, now).unwrap().contains("has ended"));
    }

    #[test]
    fn a_file_that_changes_is_seen() {
        let folder = Folder::new();
        let files = Files {
            certificate: write(&folder, "c.pem", "a", 0o600),
            key: write(&folder, "k.pem", "b", 0o600),
        };
        let before = files.stamp();
        assert!(before.is_some() && files.stamp() == before);
        write(&folder, "k.pem", "longer", 0o600);
        assert_ne!(files.stamp(), before);
        fs::remove_file(&files.key).unwrap();
        assert_eq!(files.stamp(), None);
    }
}
