//! What the services say about themselves.

use serde::Deserialize;

/// What the services say about themselves, as the gateway collects it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Figures {
    pub(super) carts_per_second: Option<f64>,
    pub(super) services: Vec<ServiceFigures>,
}

/// What a service says about itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceFigures {
    pub(super) service: String,
    pub(super) up: bool,
    pub(super) outbox_events: i64,
    pub(super) outbox_age_seconds: f64,
    pub(super) lag_events: Option<f64>,
    pub(super) parked_events: i64,
    pub(super) breaker: Option<String>,
}

impl Figures {
    /// Where the gateway has them.
    pub(super) const PATH: &str = "/live/figures";

    /// Returns the services that answered.
    pub(super) fn up(&self) -> impl Iterator<Item = &ServiceFigures> {
        self.services.iter().filter(|service| service.up)
    }

    /// Returns the events that wait for an operator, or `None` while a service does not say.
    pub(super) fn parked_events(&self) -> Option<i64> {
        let all_are_up = !self.services.is_empty() && self.services.iter().all(|one| one.up);
        all_are_up.then(|| self.up().map(|service| service.parked_events).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_events_are_those_of_all_services_or_unknown() {
        let of = |json: &str| serde_json::from_str::<Figures>(json).unwrap().parked_events();
        let (two, down) = (
            r#"{"service":"cart","up":true,"parkedEvents":2}"#,
            r#"{"service":"mypage","up":false}"#,
        );
        assert_eq!(of(&format!(r#"{{"services":[{two},{two}]}}"#)), Some(4));
        assert_eq!(of(&format!(r#"{{"services":[{two},{down}]}}"#)), None);
        assert_eq!(of("{}"), None);
    }
}
