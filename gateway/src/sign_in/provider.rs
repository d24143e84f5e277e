//! The issuer, as its client sees it.

use super::config::{SessionToken, SignInConfig};
use super::discovered::Discovered;
use anyhow::{Context, anyhow};
use axum::http::Uri;
use bytes::Bytes;
use chassis::auth::{Discovery, HttpsClient};
use chassis::base::outage::Outage;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::url::Url;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ErrorResponseType, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope,
    StandardErrorResponse, StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// The redirect URI of requests that lead nobody back.
const NO_REDIRECT: &str = "http://localhost";

/// The issuer, as its client sees it.
pub(super) struct Provider {
    /// `iss` of its tokens.
    pub(super) issuer: String,
    pub(super) client_id: String,
    config: SignInConfig,
    https: HttpsClient,
    discovered: Discovered,
    /// Connections belong to it: they outlive the request that they were made for.
    runtime: Handle,
    outage: Outage,
}

/// The tokens of somebody.
pub(super) struct Tokens {
    /// What the services check.
    pub(super) token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) id_token: Option<String>,
}

/// A sign-in that the issuer is to be asked for.
pub(super) struct Question {
    /// Where the browser goes.
    pub(super) url: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

/// Why there are no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The issuer refused them.
    Refused,
    /// The issuer could not be asked.
    Away,
}

/// `id_token` of a token response (OpenID Connect Core, section 3.1.3.3).
#[derive(Debug, Deserialize, Serialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type Response = StandardTokenResponse<IdToken, BasicTokenType>;
type Client = oauth2::Client<
    BasicErrorResponse,
    Response,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// The issuer did not answer.
#[derive(Debug)]
struct NoAnswer(anyhow::Error);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

impl Provider {
    /// Returns the client `client_id` at `issuer`.
    pub(super) fn new(
        issuer: String,
        client_id: String,
        config: SignInConfig,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            issuer,
            client_id,
            config,
            https: HttpsClient::new()?,
            discovered: Discovered::default(),
            runtime: Handle::current(),
            outage: Outage::new("requests of the sign-in to the issuer"),
        })
    }

    /// Returns a sign-in to ask for, whose answer comes to `redirect`.
    pub(super) async fn question(self: &Arc<Self>, redirect: String) -> Result<Question, Failure> {
        self.in_task(async move |provider| {
            let client = provider.client(redirect).await?;
            let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
            let nonce = CsrfToken::new_random().into_secret();
            let asked = client
                .authorize_url(CsrfToken::new_random)
                .add_scopes(provider.config.oidc_scopes.iter().cloned().map(Scope::new))
                .add_extra_param("nonce", &nonce)
                .set_pkce_challenge(challenge);
            let (url, state) = asked.url();
            let (state, verifier) = (state.into_secret(), verifier.into_secret());
            Ok(Question { url: url.into(), state, nonce, verifier })
        })
        .await
    }

    /// Returns the tokens for a code.
    pub(super) async fn redeem(
        self: &Arc<Self>,
        code: String,
        verifier: String,
        redirect: String,
    ) -> Result<Tokens, Failure> {
        self.in_task(async move |provider| {
            let client = provider.client(redirect).await?;
            let asked = client.exchange_code(AuthorizationCode::new(code));
            let asked = asked.set_pkce_verifier(PkceCodeVerifier::new(verifier));
            provider.tokens(asked.request_async(&provider.sender()).await)
        })
        .await
    }

    /// Returns new tokens for a refresh token.
    pub(super) async fn renew(self: &Arc<Self>, refresh: String) -> Result<Tokens, Failure> {
        self.in_task(async move |provider| {
            let client = provider.client(NO_REDIRECT.into()).await?;
            let refresh = RefreshToken::new(refresh);
            let asked = client.exchange_refresh_token(&refresh);
            provider.tokens(asked.request_async(&provider.sender()).await)
        })
        .await
    }

    /// Has a refresh token revoked (RFC 7009), if the issuer offers that.
    pub(super) async fn revoke(self: &Arc<Self>, refresh: String) -> Result<(), Failure> {
        self.in_task(async move |provider| {
            let known = provider.discovery().await?;
            let Some(endpoint) = known.revocation_endpoint.as_deref() else { return Ok(()) };
            let mut url = Url::parse(endpoint)?;
            // `oauth2` takes nothing but HTTPS here, and an issuer on one's own machine has none: `send` knows the address.
            let _ = url.set_scheme("https");
            let client = provider.client(NO_REDIRECT.into()).await?;
            let client = client.set_revocation_url(RevocationUrl::from_url(url));
            let asked = client.revoke_token(RefreshToken::new(refresh).into())?;
            let send = provider.sender_to(endpoint.parse()?);
            asked.request_async(&send).await.map_err(refusal)
        })
        .await
    }

    /// Returns where to sign out at the issuer, which then sends the browser to `back`. `None` if it has no such place.
    pub(super) async fn sign_out_url(
        self: &Arc<Self>,
        id_token: Option<&str>,
        back: &str,
    ) -> Option<String> {
        let known = self.in_task(async |provider| provider.discovery().await).await.ok()?;
        let mut url = Url::parse(known.end_session_endpoint.as_deref()?).ok()?;
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", &self.client_id);
        query.append_pair("post_logout_redirect_uri", back);
        query.extend_pairs(id_token.map(|token| ("id_token_hint", token)));
        drop(query);
        Some(url.into())
    }

    /// Asks the issuer in a task: what is asked is asked to its end, also if the request that needs it is dropped.
    async fn in_task<T: Send + 'static, F>(
        self: &Arc<Self>,
        ask: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        let asked = self.runtime.spawn(ask(Arc::clone(self)));
        let answer = asked.await.map_err(|_| Failure::Away)?;
        match answer {
            Ok(answer) => {
                self.outage.works();
                Ok(answer)
            }
            Err(error) if error.is::<Refused>() => {
                tracing::warn!("{error:#}");
                Err(Failure::Refused)
            }
            Err(error) => {
                self.outage.failed(&format!("{error:#}"));
                Err(Failure::Away)
            }
        }
    }

    /// Returns what the issuer says of itself.
    async fn discovery(&self) -> anyhow::Result<Arc<Discovery>> {
        let read = Discovery::read(&self.https, &self.issuer);
        self.discovered.at(Instant::now(), read).await
    }

    async fn client(&self, redirect: String) -> anyhow::Result<Client> {
        let known = self.discovery().await?;
        let endpoint = |url: &Option<String>, name| {
            url.clone().with_context(|| format!("the issuer names no {name}"))
        };
        let authorize = endpoint(&known.authorization_endpoint, "authorization_endpoint")?;
        let token = endpoint(&known.token_endpoint, "token_endpoint")?;
        let methods = &known.token_endpoint_auth_methods_supported;
        // Without a list, it takes the secret in a header (OpenID Connect Discovery 1.0, section 3).
        let in_header =
            methods.is_empty() || methods.iter().any(|one| one == "client_secret_basic");
        let mut client = oauth2::Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(AuthUrl::new(authorize)?)
            .set_token_uri(TokenUrl::new(token)?)
            .set_redirect_uri(RedirectUrl::new(redirect)?)
            .set_auth_type(if in_header { AuthType::BasicAuth } else { AuthType::RequestBody });
        if let Some(secret) = &self.config.oidc_client_secret {
            client = client.set_client_secret(ClientSecret::new(secret.reveal().to_owned()));
        }
        Ok(client)
    }

    /// Returns how `oauth2` sends its requests.
    fn sender(&self) -> impl Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, NoAnswer>> {
        let https = self.https.clone();
        move |request| send(https.clone(), request).boxed()
    }

    /// Returns how `oauth2` sends its requests to `address`, whatever address they have.
    fn sender_to(
        &self,
        address: Uri,
    ) -> impl Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, NoAnswer>> + use<> {
        let https = self.https.clone();
        move |mut request| {
            *request.uri_mut() = address.clone();
            send(https.clone(), request).boxed()
        }
    }

    fn tokens(
        &self,
        answer: Result<Response, RequestTokenError<NoAnswer, BasicErrorResponse>>,
    ) -> anyhow::Result<Tokens> {
        let answer = answer.map_err(refusal)?;
        let id_token = answer.extra_fields().id_token.clone();
        let token = match self.config.oidc_token_type {
            SessionToken::Access => answer.access_token().secret().clone(),
            SessionToken::Id => id_token.clone().context("the issuer gave no ID token")?,
        };
        let refresh_token = answer.refresh_token().map(|token| token.secret().clone());
        Ok(Tokens { token, refresh_token, id_token })
    }
}

/// Returns why the issuer did not do what it was asked for.
fn refusal<T: ErrorResponseType + fmt::Display + 'static>(
    error: RequestTokenError<NoAnswer, StandardErrorResponse<T>>,
) -> anyhow::Error {
    match error {
        RequestTokenError::ServerResponse(refusal) => match refusal.error().to_string() {
            code if code == INVALID_GRANT => Refused(code).into(),
            // It is no fault of who signs in, and their session stays.
            code => anyhow!(
                "the issuer refused a request: {code}; look at OIDC_CLIENT_ID and OIDC_CLIENT_SECRET"
            ),
        },
        RequestTokenError::Request(NoAnswer(error)) => error,
        // The response may have tokens in it: say nothing of what it is.
        _ => anyhow!("the issuer's response to a request for tokens cannot be read"),
    }
}

/// The code with which an issuer says that a code or a refresh token is not good any more (RFC 6749, section 5.2). The others blame
/// the client.
const INVALID_GRANT: &str = "invalid_grant";

/// The issuer refused tokens, with this code.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the issuer refused tokens: {}", self.0)
    }
}

impl std::error::Error for Refused {}

async fn send(https: HttpsClient, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
    let answer = https.send(request.map(Bytes::from)).await.map_err(NoAnswer)?;
    if answer.status().is_server_error() {
        return Err(NoAnswer(anyhow!("the issuer answered {}", answer.status())));
    }
    Ok(answer.map(Vec::from))
}
