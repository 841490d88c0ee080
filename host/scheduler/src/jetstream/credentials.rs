//! Who this host is, from a file that is read whenever it is asked.

use std::path::Path;
use std::sync::Arc;

use async_nats::{Auth, AuthError, ConnectOptions, ServerAddr};
use nkeys::KeyPair;
use percent_encoding::percent_decode_str;

use super::Credentials;
use super::link::Link;

/// `user:password@` or `token@` of the first address that has one.
pub(super) fn of_address(options: ConnectOptions, addresses: &[ServerAddr]) -> ConnectOptions {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match addresses.iter().find_map(|address| Some((address.username()?, address.password()))) {
        Some((user, Some(password))) => options.user_and_password(decoded(user), decoded(password)),
        Some((token, None)) => options.token(decoded(token)),
        None => options,
    }
}

/// Answers the server's challenge.
pub(super) async fn sign(link: Arc<Link>, credentials: Credentials, nonce: Vec<u8>) -> Result<Auth, AuthError> {
    let signed = match &credentials {
        Credentials::Creds(file) => creds(file, &nonce).await.map_err(|why| ("--nats-creds", file, why)),
        Credentials::Nkey(file) => nkey(file, &nonce).await.map_err(|why| ("--nats-nkey", file, why)),
    };
    let problem = signed.as_ref().err();
    let problem = problem.map(|(flag, file, why)| format!("{} ({flag}) cannot be used: {why}", file.display()));
    link.credentials(problem.clone());
    signed.map_err(|_told| AuthError::new(problem.unwrap_or_default()))
}

async fn creds(file: &Path, nonce: &[u8]) -> Result<Auth, String> {
    let text = read(file).await?;
    let jwt = block(&text, "NATS USER JWT").ok_or("it has no user JWT; write it with `nsc generate creds`")?;
    let seed =
        block(&text, "USER NKEY SEED").ok_or("it has no seed of a user's nkey; write it with `nsc generate creds`")?;
    let (_, signature) = signature(seed, nonce)?;
    let mut auth = Auth::new();
    auth.jwt = Some(jwt.to_owned());
    auth.signature = Some(signature);
    Ok(auth)
}

async fn nkey(file: &Path, nonce: &[u8]) -> Result<Auth, String> {
    let text = read(file).await?;
    // As `nk -gen user` writes it; or a block of a creds file.
    let seed = block(&text, "USER NKEY SEED").unwrap_or(text.trim());
    let (public, signature) = signature(seed, nonce)?;
    let mut auth = Auth::new();
    auth.nkey = Some(public);
    auth.signature = Some(signature);
    Ok(auth)
}

async fn read(file: &Path) -> Result<String, String> {
    tokio::fs::read_to_string(file).await.map_err(|error| error.to_string())
}

fn signature(seed: &str, nonce: &[u8]) -> Result<(String, Vec<u8>), String> {
    let key = KeyPair::from_seed(seed).map_err(|error| format!("its seed is none ({error})"))?;
    let signature = key.sign(nonce).map_err(|error| error.to_string())?;
    Ok((key.public_key(), signature))
}

/// The line after `-----BEGIN name-----`.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !(line.contains("BEGIN") && line.contains(name)));
    lines.nth(1).filter(|line| !line.is_empty() && !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_creds_file_are_found() {
        let text = "-----BEGIN NATS USER JWT-----\neyJ0.eyJ\r\n------END NATS USER JWT------\n\n\
                    -----BEGIN USER NKEY SEED-----\n SUAB \n------END USER NKEY SEED------\n";
        assert_eq!((block(text, "NATS USER JWT"), block(text, "USER NKEY SEED")), (Some("eyJ0.eyJ"), Some("SUAB")));
        assert_eq!(block("-----BEGIN NATS USER JWT-----\n------END NATS USER JWT------", "NATS USER JWT"), None);
        assert_eq!(block("SUAB", "USER NKEY SEED"), None);
    }
}
