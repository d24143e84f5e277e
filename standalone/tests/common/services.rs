//! What the tests compare of the processes. `gateway::services` has the list of the services.

use chassis::base::problem::Kind;
use chassis::http::Surface;
use chassis::openapi::Api;
use chassis::service::launch::{OnKafka, command};
use chassis::workers::consumer::Policy as _;
use chrono::DateTime;
use common_events::Envelope;
use gateway::services::SERVICES;

/// What a service says of itself.
pub struct Service {
    pub name: &'static str,
    /// Its settings, as `main` reads them.
    pub command: fn(&'static str, u16) -> clap::Command,
    pub problems: &'static [Kind],
    pub surface: fn() -> Surface,
    pub openapi: fn() -> Api,
    /// Returns true if its policy acts on an event.
    pub acts_on: fn(&Envelope) -> bool,
}

/// Returns the services.
pub fn services() -> [Service; SERVICES.len()] {
    [
        Service {
            name: "gifticon",
            command: |name, port| {
                command::<OnKafka<gifticon::GifticonConfig>>(name, gifticon::ABOUT, port)
            },
            problems: gifticon::api::PROBLEMS,
            surface: gifticon::api::surface,
            openapi: gifticon::api::openapi,
            acts_on: |event| {
                !gifticon::policy::ReturnStock.react(event, DateTime::UNIX_EPOCH).is_empty()
            },
        },
        Service {
            name: "cart",
            command: |name, port| command::<OnKafka<cart::CartConfig>>(name, cart::ABOUT, port),
            problems: cart::api::PROBLEMS,
            surface: cart::api::surface,
            openapi: cart::api::openapi,
            acts_on: |event| {
                !cart::policy::FollowPayment.react(event, DateTime::UNIX_EPOCH).is_empty()
            },
        },
        Service {
            name: "payment",
            command: |name, port| {
                command::<OnKafka<payment::PaymentConfig>>(name, payment::ABOUT, port)
            },
            problems: payment::api::PROBLEMS,
            surface: payment::api::surface,
            openapi: payment::api::openapi,
            acts_on: |event| {
                let policy = payment::policy::FollowCart { builtin: None };
                !policy.react(event, DateTime::UNIX_EPOCH).is_empty()
            },
        },
        Service {
            name: "mypage",
            command: |name, port| {
                command::<OnKafka<mypage::MypageConfig>>(name, mypage::ABOUT, port)
            },
            problems: mypage::api::PROBLEMS,
            surface: mypage::api::surface,
            openapi: mypage::api::openapi,
            acts_on: |event| !mypage::policy::Project.react(event, DateTime::UNIX_EPOCH).is_empty(),
        },
    ]
}

/// Returns the commands of the services and of the gateway, as `main` builds them.
pub fn commands() -> Vec<clap::Command> {
    let service = |of: gateway::services::Service| {
        let same = services().into_iter().find(|service| service.name == of.name);
        (same.expect("each service is in this file").command)(of.name, of.port)
    };
    let gateway = command::<gateway::GatewayConfig>("gateway", gateway::ABOUT, 8088);
    SERVICES.map(service).into_iter().chain([gateway]).collect()
}
