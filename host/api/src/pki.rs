//! The certificates of the server: an authority of its own, kept in a directory, and a server certificate made from it at every start.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::{Error, Tls};

/// The authority's certificate and a server certificate signed by it.
pub struct Pki {
    ca_pem: String,
    cert_pem: String,
    key_pem: String,
}

impl Pki {
    /// The authority's certificate, for clients.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What the server presents.
    pub fn tls(&self) -> Tls {
        Tls { cert_pem: self.cert_pem.clone(), key_pem: self.key_pem.clone(), ca_pem: self.ca_pem.clone() }
    }
}

/// A certificate authority: its certificate and its key, in PEM.
pub struct Authority {
    /// The certificate, for everybody.
    pub certificate: String,
    /// The key: who has it can pose as the server.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn generate() -> Result<Self, Error> {
        let made = |e: rcgen::Error| Error::Certificate(format!("certificate authority: {e}"));
        let key = KeyPair::generate().map_err(made)?;
        let certificate = authority().self_signed(&key).map_err(made)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The one in a directory; None when there is none.
    ///
    /// # Errors
    /// [`Error::Certificate`] names the file that cannot be read.
    pub fn load(directory: &Path) -> Result<Option<Self>, Error> {
        let (ca_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
        if !key_file.exists() {
            return Ok(None);
        }
        let read = |file: &Path| fs::read_to_string(file).map_err(|e| at(file, &e));
        Ok(Some(Self { certificate: read(&ca_file)?, key: read(&key_file)? }))
    }

    /// Signs a certificate for `names` (host names or addresses) and the loopback names. `place` is said where the authority cannot be used.
    ///
    /// # Errors
    /// [`Error::Certificate`] says which half of it is no good, or which name.
    pub fn sign(&self, names: &[String], place: &str) -> Result<Pki, Error> {
        let damaged = |file: &str, e: &dyn std::fmt::Display| {
            let fix = "put the file back as it was, or remove ca.crt and ca.key: then there is a new authority, and clients need the new kubeconfig";
            Error::Certificate(format!("{place}/{file}: {e}; {fix}"))
        };
        let key = KeyPair::from_pem(&self.key).map_err(|e| damaged("ca.key", &e))?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, key).map_err(|e| damaged("ca.crt", &e))?;
        issue(&self.certificate, &issuer, names)
    }
}

fn at(file: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::Certificate(format!("{}: {e}", file.display()))
}

/// Loads the authority from `directory`, or makes it there, and signs a certificate for `names` (host names or addresses) and the loopback names.
///
/// # Errors
/// [`Error::Certificate`] names the file that cannot be read, written or understood.
pub fn load_or_create(directory: &Path, names: &[String]) -> Result<Pki, Error> {
    let authority = match Authority::load(directory)? {
        Some(authority) => authority,
        None => {
            let (ca_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
            let made = Authority::generate()?;
            fs::create_dir_all(directory).map_err(|e| at(directory, &e))?;
            fs::write(&ca_file, &made.certificate).map_err(|e| at(&ca_file, &e))?;
            // The key last: a start that was cut off between the two begins anew.
            write_private(&key_file, &made.key).map_err(|e| at(&key_file, &e))?;
            made
        }
    };
    authority.sign(names, &directory.display().to_string())
}

fn issue(ca_pem: &str, issuer: &Issuer<'_, KeyPair>, names: &[String]) -> Result<Pki, Error> {
    let wrong = |what: String| Error::Certificate(what);
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let listed = all.join(", ");
    let key = KeyPair::generate().map_err(|e| wrong(format!("server key: {e}")))?;
    let mut params = CertificateParams::new(all).map_err(|e| wrong(format!("server certificate for {listed}: {e}")))?;
    params.distinguished_name.push(DnType::CommonName, "threeport");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer).map_err(|e| wrong(format!("server certificate: {e}")))?;
    Ok(Pki { ca_pem: ca_pem.to_owned(), cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "threeport authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
