//! The links of the book, its contents, and the tests, files and constants that it names.

mod common;

use common::files::{below, text};
use gateway::services::names;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Pages outside of `docs/`.
const FRONT: [&str; 4] = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
/// Bound for the length of README.md, which is a few screens.
const README_LINES_MAX: usize = 150;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns all pages by their path from the root, with `/` between folders.
fn pages() -> BTreeMap<String, String> {
    let root = root();
    let book = below("docs", "md").into_iter().map(|path| {
        let path = path.canonicalize().unwrap();
        path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
    });
    book.chain(FRONT.map(Into::into)).map(|path| (path.clone(), text(&path))).collect()
}

/// Returns the lines of a page that are not in a block of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Returns the anchors of the headings of a page, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Returns where the links of a page lead.
fn links(page: &str) -> Vec<String> {
    let after = |line: &str| -> Vec<String> {
        let parts = line.split("](").skip(1);
        parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())).collect()
    };
    prose(page).flat_map(after).collect()
}

/// Returns the texts between backticks in a line.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Returns the page or file that a link leads to, from the root.
fn target(from: &str, link: &str) -> String {
    let mut path: Vec<&str> = from.split('/').collect();
    path.pop();
    for step in link.split('/') {
        match step {
            "." => {}
            ".." => drop(path.pop().unwrap_or_else(|| panic!("{from}: {link} leaves the root"))),
            step => path.push(step),
        }
    }
    path.join("/")
}

#[test]
fn every_link_leads_somewhere() {
    let (root, pages) = (root(), pages());
    let mut count = 0;
    for (from, page) in &pages {
        for link in links(page).iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { from.clone() } else { target(from, file) };
            assert!(root.join(&to).exists(), "{from}: {link} leads nowhere");
            if !anchor.is_empty() {
                let page = pages.get(&to).unwrap_or_else(|| panic!("{from}: {link}: no page"));
                assert!(anchors(page).contains(anchor), "{from}: {link}: no such heading");
            }
            count += 1;
        }
    }
    assert!(count > 150, "only {count} links were found");
}

#[test]
fn every_page_is_in_the_contents_once() {
    let pages = pages();
    let mut listed: Vec<String> = links(&pages["docs/SUMMARY.md"])
        .iter()
        .map(|link| target("docs/SUMMARY.md", link))
        .collect();
    listed.retain(|page| page.starts_with("docs/"));
    listed.sort();
    let mut there: Vec<&String> = pages
        .keys()
        .filter(|page| page.starts_with("docs/") && *page != "docs/SUMMARY.md")
        .collect();
    there.sort();
    assert_eq!(listed.iter().collect::<Vec<_>>(), there);
}

#[test]
fn the_front_page_is_short_and_says_how_to_test() {
    let readme = text("README.md");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
    for told in ["cargo run --release", "cargo test --workspace", ".ci/run", "docs/ko/README.md"] {
        assert!(readme.contains(told), "README.md does not say {told}");
    }
}

/// Checks that each test in the tables of a section exists. Returns how many there are.
fn tests_named(section: &str) -> usize {
    let mut count = 0;
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let (names, file) = row.trim_matches('|').split_once('|').unwrap();
        let (names, file) = (names.split(" (").next().unwrap(), quoted(file)[0]);
        for name in quoted(names) {
            assert!(is_a_test(name, file), "{file} has no test {name}");
            count += 1;
        }
    }
    count
}

#[test]
fn every_guarantee_is_shown_by_tests_that_exist() {
    let page = text("docs/how/guarantees.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 10);
    for (number, section) in (1..).zip(sections) {
        assert!(section.starts_with(&format!("G{number} ")), "{section}");
        assert!(text("README.md").contains(&format!("| G{number} |")), "README lacks G{number}");
        let count = tests_named(section);
        assert!(count >= 2, "G{number} is shown by {count} tests");
    }
}

#[test]
fn every_risk_of_owasp_is_answered_by_tests_that_exist() {
    let page = text("docs/how/owasp.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 10);
    for (number, section) in (1..).zip(sections) {
        assert!(section.starts_with(&format!("API{number} ")), "{section}");
        let count = tests_named(section);
        assert!(count >= 2, "API{number} is answered by {count} tests");
    }
}

/// Whether a test of this name is in a file, as a function or in the list of a macro that makes tests.
fn is_a_test(name: &str, file: &str) -> bool {
    let source = text(file);
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let found = source.match_indices(name).any(|(at, _)| {
        let before = source[..at].chars().next_back();
        let after = source[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && after.is_some_and(|c| matches!(c, '(' | ',' | ':'))
    });
    found && (file.contains("/tests/") || source.contains("test"))
}

/// Decisions and other pages say "`name` in `file.rs`", and name files of the repository.
#[test]
fn every_file_and_test_that_a_page_names_exists() {
    let (root, mut count) = (root(), 0);
    let tops = ["standalone/", "kubernetes/", ".ci/", ".github/", ".devcontainer/", "docs/"];
    for (page, text) in pages() {
        if page.starts_with("docs/results/") {
            continue; // records of what was there
        }
        for line in prose(&text) {
            let quoted = quoted(line);
            for (place, file) in quoted.iter().enumerate() {
                let extension = Path::new(file).extension();
                let is_source = extension.is_some_and(|rs| rs == "rs") && file.contains('/');
                let is_path = tops.iter().any(|top| file.starts_with(top)) || is_source;
                if !is_path || file.contains(['{', '*']) {
                    continue;
                }
                let path = file.split(' ').next().unwrap();
                if path.starts_with("tests/") {
                    let is_there = names().iter().any(|name| root.join(name).join(path).exists());
                    assert!(is_there, "{page}: no service has {path}");
                    continue;
                }
                assert!(root.join(path).exists(), "{page}: there is no {path}");
                count += 1;
                let is_named = line.contains(&format!("` in `{file}`"));
                if let (true, Some(name)) = (is_named, place.checked_sub(1).map(|at| quoted[at])) {
                    assert!(is_a_test(name, path), "{page}: {path} has no test {name}");
                }
            }
        }
    }
    assert!(count > 50, "only {count} files were found");
}

#[test]
fn every_constant_of_the_limits_exists() {
    let (page, mut count) = (text("docs/how/limits.md"), 0);
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let Some([package, constant]) = row
            .rsplit('|')
            .nth(1)
            .map(quoted)
            .as_deref()
            .and_then(|names| <[&str; 2]>::try_from(names).ok())
        else {
            continue;
        };
        let wanted = format!("const {constant}:");
        let sources = below(&format!("{package}/src"), "rs");
        let found =
            sources.iter().any(|file| std::fs::read_to_string(file).unwrap().contains(&wanted));
        assert!(found, "{package} has no constant {constant}");
        count += 1;
    }
    assert!(count > 60, "only {count} constants were found");
}
