//! What the shop says of itself when it has started.

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
        }
    }
}

impl Welcome for Addresses {
    fn lines(&self) -> String {
        let Self { page, api, services, management, data } = self;
        format!(
            "The shop is open: {page}\n\
             \x20 API         {api}\n\
             \x20 services    {services}\n\
             \x20 management  {management}, such as /cart/metrics\n\
             \x20 data        {data}\n\
             \x20 stop        Ctrl-C\n"
        )
    }

    fn log(&self) {
        let Self { page, api, services: _, management, data } = self;
        info!(page, api, management, data, "the shop is open");
    }
}
