//! What RabbitMQ needs on the disk, looked at before a start and again when it is used.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::Options;
use crate::disk;

/// The option that names them.
pub(super) const CA_OPTION: &str = "rabbitmq_ca_file";

/// Whether the files that the options of RabbitMQ name can be used. A start makes the folder of
/// the spool if it is not there; who only asks leaves no trace.
///
/// # Errors
/// One line: which option, why, and what to do.
pub fn check_rabbitmq_files(options: &Options, is_start: bool) -> Result<(), String> {
    if options.rabbitmq_url.is_none() {
        return Ok(());
    }
    let ca_file = &options.rabbitmq_ca_file;
    if !ca_file.is_empty() {
        trusted(Path::new(ca_file)).map_err(|why| {
            format!(
                "{CA_OPTION} = {ca_file:?}: {why}; name a file with certificates in PEM \
                 form, or leave it out"
            )
        })?;
    }
    let folder = &options.rabbitmq_spool_file;
    if !folder.is_empty() && (is_start || Path::new(folder).exists()) {
        lock(Path::new(folder)).map_err(|error| {
            format!(
                "rabbitmq_spool_file = {folder:?}: cannot be used ({error}); name a folder that \
                 this user may write to and that is no other process's, or leave it out"
            )
        })?;
    }
    Ok(())
}

/// The text of a file of certificates.
pub(super) fn trusted(path: &Path) -> Result<String, String> {
    let bytes = disk::read(path).map_err(|why| why.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    if found.map_err(|error| error.to_string())?.is_empty() {
        return Err(String::from("no certificate stands there"));
    }
    String::from_utf8(bytes).map_err(|_| String::from("it is not UTF-8"))
}

/// Makes a folder this process's for as long as the file is open.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.try_lock().map_err(|_| io::Error::other("another process uses it"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Changes, OPTIONS, Secret};
    use crate::scratch::Folder;

    fn options(ca_file: &Path, folder: &Path) -> Options {
        Options {
            rabbitmq_url: Some(Secret::new("amqps://u:p@127.0.0.1")),
            rabbitmq_ca_file: ca_file.display().to_string(),
            rabbitmq_spool_file: folder.display().to_string(),
            ..Options::default()
        }
    }

    #[test]
    fn what_each_connection_reads_is_what_the_table_says() {
        let told = OPTIONS.iter().filter(|entry| entry.changes == Changes::Connect);
        assert!(told.map(|entry| entry.name).eq([CA_OPTION]));
    }

    #[test]
    fn what_cannot_be_used_is_said_before_it_is_needed() {
        let folder = Folder::new();
        let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).unwrap();
        folder.write("ca.pem", made.cert.pem());
        folder.write("bad.pem", made.signing_key.serialize_pem());
        let (good, bad) = (folder.join("ca.pem"), folder.join("bad.pem"));
        let (spool, nowhere) = (folder.join("spool"), Path::new(""));

        assert_eq!(check_rabbitmq_files(&options(&good, &spool), false), Ok(()));
        assert!(!spool.exists(), "who only asks leaves no trace");
        assert_eq!(check_rabbitmq_files(&options(&good, &spool), true), Ok(()));
        let held = lock(&spool).unwrap();
        for (ca_file, folder, words) in [
            (folder.join("none.pem").as_path(), nowhere, ["rabbitmq_ca_file", "none.pem"]),
            (&bad, nowhere, ["rabbitmq_ca_file", "no certificate stands there"]),
            (&folder, nowhere, ["rabbitmq_ca_file", "no regular file"]),
            (nowhere, &good, ["rabbitmq_spool_file", "ca.pem"]),
            (nowhere, &spool, ["rabbitmq_spool_file", "another process uses it"]),
        ] {
            let line = check_rabbitmq_files(&options(ca_file, folder), true).unwrap_err();
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
            let off = Options { rabbitmq_url: None, ..options(ca_file, folder) };
            assert_eq!(check_rabbitmq_files(&off, true), Ok(()), "without a broker: {line}");
        }
        drop(held);
    }
}
