//! Certificates of a test, in a folder that goes with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::scratch::Folder;

/// An authority, and what it issues for `localhost` and 127.0.0.1.
pub(crate) struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

impl Pki {
    /// An authority, with a first certificate in place.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let pki = Self { authority, folder: Folder::new() };
        pki.issue(1);
        pki
    }

    /// Where the certificate stands.
    pub(crate) fn certificate(&self) -> String {
        self.folder.path("certificate.pem")
    }

    /// Where its key stands.
    pub(crate) fn key(&self) -> String {
        self.folder.path("key.pem")
    }

    /// Puts a certificate with this serial number in place of the one before.
    pub(crate) fn issue(&self, serial: u64) {
        let names = vec![String::from("localhost"), String::from("127.0.0.1")];
        let mut params = CertificateParams::new(names).expect("legal names");
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().expect("keys can be made");
        let issued = params.signed_by(&key, &self.authority).expect("the authority signs");
        // The key first: whoever looks in between finds two that do not fit, and looks again.
        self.replace(&self.key(), &key.serialize_pem());
        self.replace(&self.certificate(), &issued.pem());
    }

    /// Puts something in place of the certificate that is none.
    pub(crate) fn spoil(&self) {
        self.replace(&self.certificate(), "-----BEGIN CERTIFICATE-----\nno\n");
    }

    fn replace(&self, path: &str, text: &str) {
        let beside = self.folder.write("new.pem", text);
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("our own file");
        fs::rename(&beside, path).expect("in one folder");
    }

    /// A client that trusts the authority and keeps tickets.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_with(&[&rustls::version::TLS13, &rustls::version::TLS12], &[])
    }

    pub(crate) fn client_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("it is a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("both are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// The serial number of a certificate that a server showed.
pub(crate) fn serial(certificates: Option<&[CertificateDer<'_>]>) -> u64 {
    use x509_cert::der::Decode;
    let leaf = certificates.and_then(<[_]>::first).expect("the server showed one");
    let leaf = x509_cert::Certificate::from_der(leaf).expect("it is one");
    let bytes = leaf.tbs_certificate.serial_number.as_bytes().iter();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}
