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

/// Loads the authority from `directory`, or makes it there, and signs a certificate for `names` (host names or addresses) and the loopback names.
///
/// # Errors
/// [`Error::Certificate`] names the file that cannot be read, written or understood.
pub fn load_or_create(directory: &Path, names: &[String]) -> Result<Pki, Error> {
    let (ca_file, key_file) = (directory.join("ca.crt"), directory.join("ca.key"));
    let wrong = |what: String| Error::Certificate(what);
    let at = |file: &Path, e: &dyn std::fmt::Display| wrong(format!("{}: {e}", file.display()));
    let damaged = |file: &Path, e: &dyn std::fmt::Display| {
        let fix = "put the file back as it was, or remove ca.crt and ca.key: then there is a new authority, and clients need the new kubeconfig";
        wrong(format!("{}: {e}; {fix}", file.display()))
    };
    if !key_file.exists() {
        fs::create_dir_all(directory).map_err(|e| at(directory, &e))?;
        let key = KeyPair::generate().map_err(|e| at(&key_file, &e))?;
        let ca = authority().self_signed(&key).map_err(|e| at(&ca_file, &e))?;
        fs::write(&ca_file, ca.pem()).map_err(|e| at(&ca_file, &e))?;
        // The key last: a start that was cut off between the two begins anew.
        write_private(&key_file, &key.serialize_pem()).map_err(|e| at(&key_file, &e))?;
    }
    let ca_pem = fs::read_to_string(&ca_file).map_err(|e| at(&ca_file, &e))?;
    let ca_key = fs::read_to_string(&key_file).map_err(|e| at(&key_file, &e))?;
    let ca_key = KeyPair::from_pem(&ca_key).map_err(|e| damaged(&key_file, &e))?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key).map_err(|e| damaged(&ca_file, &e))?;

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
    let certificate = params.signed_by(&key, &issuer).map_err(|e| wrong(format!("server certificate: {e}")))?;
    Ok(Pki { ca_pem, cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
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
