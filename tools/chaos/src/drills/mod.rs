//! Runs with a verdict, each of one kind of trouble.

pub(crate) mod cut;
pub(crate) mod faults;
pub(crate) mod outage;
pub(crate) mod overload;
pub(crate) mod rolling;
pub(crate) mod story;

/// What was seen, and how much of it.
pub(crate) type Row = (String, String);

/// A table with two columns.
pub(crate) fn table(rows: Vec<Row>) -> String {
    let rows = rows.into_iter().map(|(what, count)| format!("\n| {what} | {count} |"));
    format!("\n| what | |\n|---|---|{}", rows.collect::<String>())
}

/// A row.
pub(crate) fn row(what: &str, count: &impl ToString) -> Row {
    (what.to_owned(), count.to_string())
}
