//! Runs with a verdict, each of one kind of trouble.

pub(crate) mod cut;
pub(crate) mod faults;
pub(crate) mod outage;
pub(crate) mod overload;
pub(crate) mod rolling;

/// Rows of a table with two columns.
pub(crate) fn table(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let rows = rows.into_iter().map(|(what, count)| format!("\n| {what} | {count} |"));
    format!("\n| what | |\n|---|---|{}", rows.collect::<String>())
}

/// A row.
pub(crate) fn row(what: &str, count: &impl ToString) -> (String, String) {
    (what.to_owned(), count.to_string())
}
