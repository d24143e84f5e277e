//! The README says what is there, no more and no less.

use chassis::base::problem::{Kind, kind};
use chassis::service::launch::{OnKafka, command};
use std::collections::{BTreeMap, BTreeSet};

const README: &str = include_str!("../../README.md");

/// The rows of the table under a heading, as the texts of their first two cells.
fn table(heading: &str) -> Vec<(String, String)> {
    let (_, rest) =
        README.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(|row| {
        let cells: Vec<String> = cells(row);
        (cells[0].clone(), cells[1].clone())
    })
    .collect()
}

#[test]
fn every_problem_is_in_the_catalogue() {
    let services = [gifticon::api::PROBLEMS, cart::api::PROBLEMS, payment::api::PROBLEMS];
    let others = [mypage::api::PROBLEMS, gateway::proxy::PROBLEMS, kind::ALL];
    let all: Vec<Kind> = services.into_iter().chain(others).flatten().copied().collect();
    let there: BTreeSet<(String, String)> = all
        .iter()
        .map(|kind| (format!("`/problems/{}`", kind.slug), kind.status.as_u16().to_string()))
        .collect();
    let told: BTreeSet<(String, String)> = table("## Refusals").into_iter().collect();
    assert_eq!(there, told);
    // One slug has one meaning, also where two services use it.
    let mut titles = BTreeMap::new();
    for kind in all {
        let other = titles.insert(kind.slug, (kind.status, kind.en, kind.ko));
        assert!(
            other.is_none_or(|other| other == (kind.status, kind.en, kind.ko)),
            "{}",
            kind.slug
        );
    }
}

#[test]
fn every_setting_is_in_the_table() {
    let commands = [
        command::<OnKafka<gifticon::GifticonConfig>>("gifticon", gifticon::ABOUT, 8081),
        command::<OnKafka<cart::CartConfig>>("cart", cart::ABOUT, 8082),
        command::<OnKafka<payment::PaymentConfig>>("payment", payment::ABOUT, 8083),
        command::<OnKafka<mypage::MypageConfig>>("mypage", mypage::ABOUT, 8084),
        command::<gateway::GatewayConfig>("gateway", gateway::ABOUT, 8088),
        command::<standalone::StandaloneConfig>("standalone", standalone::ABOUT, 0),
    ];
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for command in commands {
        command.clone().debug_assert();
        for setting in command.get_arguments() {
            if let Some(variable) = setting.get_env() {
                let of = there.entry(variable.to_string_lossy().into_owned()).or_default();
                of.insert(command.get_name().to_owned());
                assert!(setting.get_help().is_some(), "{variable:?} has no help");
            }
        }
    }
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (variables, of) in table("## Settings") {
        let services = ["gifticon", "cart", "payment", "mypage"];
        let of: BTreeSet<String> = of
            .split(", ")
            .flat_map(|one| match one {
                "each" => [&services[..], &["gateway", "standalone"]].concat(),
                "each service" | "the four services" => services.to_vec(),
                one => vec![one],
            })
            .map(Into::into)
            .collect();
        for variable in variables.split(' ') {
            told.insert(variable.trim_matches('`').to_owned(), of.clone());
        }
    }
    assert_eq!(there, told);
}
