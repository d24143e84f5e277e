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

    /// Returns the services if all of them answered, so that nothing is told of the whole that only holds for a part.
    fn all(&self) -> Option<impl Iterator<Item = &ServiceFigures>> {
        let all_are_up = !self.services.is_empty() && self.services.iter().all(|one| one.up);
        all_are_up.then(|| self.services.iter())
    }

    /// Returns the events that wait for an operator, or `None` while a service does not say.
    pub(super) fn parked_events(&self) -> Option<i64> {
        Some(self.all()?.map(|service| service.parked_events).sum())
    }

    /// Returns the events that are not read yet, or `None` while a service does not say.
    pub(super) fn lag_events(&self) -> Option<f64> {
        self.all()?.map(|service| service.lag_events).sum()
    }

    /// Returns for how long the oldest event waits to be sent, in seconds, or `None` while a service does not say.
    pub(super) fn outbox_age_seconds(&self) -> Option<f64> {
        self.all()?.map(|service| service.outbox_age_seconds).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_service_does_not_say_is_unknown_of_all() {
        let of = |services: &[&str]| {
            let json = format!(r#"{{"services":[{}]}}"#, services.join(","));
            let figures: Figures = serde_json::from_str(&json).unwrap();
            (figures.lag_events(), figures.outbox_age_seconds())
        };
        let cart = r#"{"service":"cart","up":true,"lagEvents":2.0,"outboxAgeSeconds":0.5}"#;
        let payment = r#"{"service":"payment","up":true,"lagEvents":3.0,"outboxAgeSeconds":7.5}"#;
        let begins = r#"{"service":"mypage","up":true,"lagEvents":null,"outboxAgeSeconds":0.0}"#;
        let down = r#"{"service":"mypage","up":false}"#;
        assert_eq!(of(&[cart, payment]), (Some(5.0), Some(7.5)));
        assert_eq!(of(&[cart, payment, begins]), (None, Some(7.5)));
        assert_eq!(of(&[cart, payment, down]), (None, None));
        assert_eq!(of(&[]), (None, None));
    }

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
