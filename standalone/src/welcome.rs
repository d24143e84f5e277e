//! What the shop says of itself when it has started.

use crate::dev_issuer::ACCOUNTS;
use chassis::service::launch::Welcome;
use gateway::services::names;
use std::collections::BTreeMap;
use std::path::Path;
use tracing::info;

/// Where the parts of the shop are.
pub(crate) struct Addresses {
    page: String,
    api: String,
    services: String,
    management: String,
    data: String,
    /// The issuer `dev`, if there is one.
    issuer: Option<String>,
}

impl Addresses {
    /// Returns the addresses of a shop with these base URLs, whose data is in `dir`, and whose events are in Kafka if `brokers`
    /// are set.
    pub(crate) fn new(
        urls: &BTreeMap<&'static str, String>,
        dir: &Path,
        brokers: Option<String>,
    ) -> Self {
        let (gateway, management) = (&urls["gateway"], urls["management"].clone());
        let service = |name| format!("{name} {}", urls[name]);
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let data = match brokers {
            Some(brokers) => format!("{}; events in Kafka at {brokers}", dir.display()),
            None => dir.display().to_string(),
        };
        Self {
            page: format!("{gateway}/shop"),
            api: format!("{gateway}/"),
            services: names().map(service).join(", "),
            management,
            data,
            issuer: urls.get("issuer").cloned(),
        }
    }
}

impl Welcome for Addresses {
    fn lines(&self) -> String {
        let Self { page, api, services, management, data, issuer } = self;
        let accounts = issuer.as_ref().map(|issuer| {
            let subjects = ACCOUNTS.map(|account| account.subject).join(", ");
            format!("\x20 accounts    {subjects}, without passwords, at {issuer}\n")
        });
        let accounts = accounts.unwrap_or_default();
        format!(
            "The shop is open: {page}\n\
             {accounts}\
             \x20 API         {api}\n\
             \x20 services    {services}\n\
             \x20 management  {management}, such as /cart/metrics\n\
             \x20 data        {data}\n\
             \x20 stop        Ctrl-C\n"
        )
    }

    fn log(&self) {
        let Self { page, api, services: _, management, data, issuer } = self;
        let issuer = issuer.as_deref().unwrap_or("none");
        info!(page, api, management, data, issuer, "the shop is open");
    }
}
