//! The drills. Each one injects one kind of fault, and fails if a promise is broken.

pub(crate) mod cut;
pub(crate) mod faults;
pub(crate) mod outage;
pub(crate) mod overload;
pub(crate) mod rolling;
pub(crate) mod story;

/// A row of the table that a drill prints: a name and a figure.
pub(crate) type Row = (String, String);

/// Returns the rows as a Markdown table.
pub(crate) fn table(rows: Vec<Row>) -> String {
    let rows = rows.into_iter().map(|(what, count)| format!("\n| {what} | {count} |"));
    format!("\n| what | |\n|---|---|{}", rows.collect::<String>())
}

/// Returns a row.
pub(crate) fn row(what: &str, count: &impl ToString) -> Row {
    (what.to_owned(), count.to_string())
}
