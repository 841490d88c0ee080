//! Who makes a request and whether they may: authentication and authorisation as in Kubernetes.
//!
//! A request comes with the administrator's token or with a ServiceAccount's; it may ask to be taken for somebody else. What it wants
//! ([`attributes`]) is judged by the stored roles ([`rbac`]) before anything of it is read. The administrator is in `system:masters`, whom
//! nothing is refused, so that no lookup happens for them.

mod attributes;
mod audit;
mod follow;
mod impersonate;
mod keep;
mod keys;
mod rbac;
mod reviews;
mod token;
mod token_request;
mod user;

use std::sync::Arc;

use axum::http::{HeaderMap, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use threeport_store::{Error, Store};
use tokio::sync::watch;

pub(crate) use attributes::{Attributes, Resource, selected_name};
pub(crate) use audit::{Named, Trail};
pub(crate) use keep::{ACCOUNT_NAME, TOKEN_TYPE};
pub use keys::TokenKeys;
pub(crate) use rbac::{check as check_rbac, complete as complete_rbac, names_are_segments, path_segment};
pub(crate) use reviews::review;
pub(crate) use token_request::request_token;
pub(crate) use user::User;

use self::keep::Keeper;
use self::rbac::{Rbac, Rights};
use self::token::Tokens;
use crate::query::Query;
use crate::status::{ApiError, ApiResult};

/// Decides about requests.
pub(crate) struct Auth {
    /// Digest of the administrator's token: comparing digests takes the same time whatever was sent.
    token: [u8; 32],
    administrator: Arc<User>,
    tokens: Tokens,
    rbac: Rbac,
    /// The authority of the server's certificate, for programs that come with a ServiceAccount.
    ca_pem: String,
}

/// Who a request is from.
pub(crate) struct Identity {
    pub user: Arc<User>,
    /// Who asked to be taken for that user.
    pub by: Option<Arc<User>>,
}

impl Auth {
    pub(crate) fn new(token: &str, keys: Arc<TokenKeys>, issuer: String, ca_pem: String) -> Self {
        Self {
            token: Sha256::digest(token.as_bytes()).into(),
            administrator: Arc::new(User::administrator()),
            tokens: Tokens::new(keys, issuer),
            rbac: Rbac::default(),
            ca_pem,
        }
    }

    /// Signs and checks the tokens of ServiceAccounts.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The stored roles and bindings.
    pub(crate) fn rbac(&self) -> &Rbac {
        &self.rbac
    }

    /// Who a request is from: 401 if it does not say, 403 if it wants to be taken for somebody it may not be taken for.
    pub(crate) async fn identify(&self, store: &Store, headers: &HeaderMap) -> ApiResult<Identity> {
        let bearer = bearer(headers).ok_or_else(unauthorized)?;
        let user = if self.is_administrator(bearer) {
            self.administrator.clone()
        } else {
            match self.tokens.user(store, bearer, &[self.tokens.issuer().to_owned()], store.now().as_second()).await {
                Some(Ok((user, _))) => Arc::new(user),
                Some(Err(why)) => {
                    tracing::debug!(%why, "a token of no use");
                    return Err(unauthorized());
                }
                None => return Err(unauthorized()),
            }
        };
        Ok(match impersonate::wanted(headers)? {
            None => Identity { user, by: None },
            Some(wanted) => Identity { user: Arc::new(wanted.judge(&self.rbac, &user)?), by: Some(user) },
        })
    }

    /// 403 unless the user may make this request.
    pub(crate) fn require(&self, user: &User, method: &Method, segments: &[&str], query: &Query) -> ApiResult<()> {
        if user.is_superuser() {
            return Ok(());
        }
        self.permit(user, &Attributes::of(method, segments, query))
    }

    /// 403 unless the user may do this.
    pub(crate) fn permit(&self, user: &User, attributes: &Attributes<'_>) -> ApiResult<()> {
        let verdict = self.rbac.decide(user, attributes);
        if verdict.allowed() { Ok(()) } else { Err(attributes.forbidden(user, &verdict.reason())) }
    }

    fn is_administrator(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // No early exit: every byte is looked at.
        digest.iter().zip(&self.token).fold(0_u8, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

/// Makes what must be there before requests are judged; answers what keeps it so until `stop`.
///
/// # Errors
/// When the store fails.
pub(crate) async fn start(
    store: &Store,
    auth: &Arc<Auth>,
    stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + use<>, Error> {
    let rights = Rights::prepare(store.clone(), auth.clone()).await?;
    let keeper = Keeper::new(store.clone(), auth.clone());
    let rights = follow::follow(store.clone(), rbac::collections(), rights, stop.clone());
    let keeping = follow::follow(store.clone(), keep::collections(), keeper, stop);
    Ok(async move {
        tokio::join!(rights, keeping);
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
}
