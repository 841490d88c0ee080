//! The way requests go: with a token that may be renewed while connections stay, and with a limit for answers that are errors.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::Limited;
use kube::client::{Body, ClientBuilder, DynBody};
use tower::util::{MapRequestLayer, MapResponseLayer};

/// An error says what is wrong in less. A page of a proxy that never ends does not fill our memory.
pub(crate) const ERROR_BODY: usize = 1 << 20;

/// A token that takes the place of another at any time.
#[derive(Clone, Default)]
pub(crate) struct Token(Arc<ArcSwapOption<HeaderValue>>);

impl Token {
    /// False for what no header can hold.
    pub(crate) fn set(&self, token: &str) -> bool {
        let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) else { return false };
        value.set_sensitive(true);
        self.0.store(Some(Arc::new(value)));
        true
    }
}

/// A client on this configuration. With a token, the configuration's own credentials are left out.
pub(crate) fn client(mut config: kube::Config, token: Option<Token>) -> Result<kube::Client, kube::Error> {
    if token.is_some() {
        config.auth_info = kube::config::AuthInfo::default();
    }
    let token = token.unwrap_or_default();
    let authorize = move |mut request: Request<Body>| {
        if let Some(value) = token.0.load_full() {
            request.headers_mut().insert(AUTHORIZATION, (*value).clone());
        }
        request
    };
    let limit = |response: Response<Box<DynBody>>| {
        let status = response.status();
        let most = if status.is_client_error() || status.is_server_error() { ERROR_BODY } else { usize::MAX };
        response.map(|body| Limited::new(body, most))
    };
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&MapRequestLayer::new(authorize)).with_layer(&MapResponseLayer::new(limit)).build())
}
