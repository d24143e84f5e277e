//! The report of a run as a table, as JSON and as a plot.

use crate::flush::Flushes;
use anyhow::Context;
use plotters::prelude::{BLUE, ChartBuilder, IntoDrawingArea, LineSeries, RED, SVGBackend, WHITE};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Good answers a second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Answers with 404, 409 and 503, and their share in percent.
    pub(crate) refused: u64,
    pub(crate) refused_percent: f64,
    /// Other answers than these and the good ones. Only a rival may have them.
    pub(crate) failed: u64,
    /// CPU time of the shop for each request, in microseconds. `None` of a rival.
    pub(crate) cpu_us: Option<f64>,
    /// Cores that the shop used: its CPU time by the time of the measurement.
    pub(crate) cores: Option<f64>,
    /// This rate divided by the rate of its floor in the same run.
    pub(crate) ratio: Option<f64>,
    /// This CPU time of a request divided by that of its floor.
    pub(crate) cpu_ratio: Option<f64>,
    /// The lowest and the highest rate of several runs; the other figures are medians.
    pub(crate) spread: Option<(f64, f64)>,
    /// Flush times of the disk meanwhile.
    pub(crate) flushes: Option<Flushes>,
    /// Time until all payments and views were there, from the last answer. The longest of several runs.
    pub(crate) settled_ms: Option<f64>,
}

/// The results of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The processes and servers that were measured.
    pub(crate) system: String,
    /// The profile that they were built with, such as `release`.
    pub(crate) profile: String,
    pub(crate) rows: Vec<Row>,
    /// Other figures: name, and value with its unit.
    pub(crate) facts: Vec<(String, String)>,
    /// Points of the plot: offered rate, p50 and p99 in milliseconds.
    pub(crate) curve: Vec<(f64, f64, f64)>,
}

impl Report {
    /// Adds a measurement, with its ratios to a floor, if one is given.
    pub(crate) fn add(&mut self, mut row: Row, floor: Option<&Row>) {
        row.ratio = floor.map(|floor| row.rate / floor.rate);
        let cpu = row.cpu_us.zip(floor.and_then(|floor| floor.cpu_us));
        row.cpu_ratio = cpu.map(|(cpu, floor)| cpu / floor).filter(|ratio| ratio.is_finite());
        let Row { name, rate, p99_ms, refused, .. } = &row;
        eprintln!("{name}: {rate:.0}/s, p99 {p99_ms:.1} ms, {refused} refused");
        self.rows.push(row);
    }

    /// Adds another figure.
    pub(crate) fn fact(&mut self, name: &str, value: impl fmt::Display) {
        eprintln!("{name}: {value}");
        self.facts.push((name.to_owned(), value.to_string()));
    }

    /// Writes the plot of latency against offered rate.
    pub(crate) fn plot(&self, file: &Path) -> anyhow::Result<()> {
        let area = SVGBackend::new(file, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let widest = self.curve.iter().map(|point| point.0).fold(1.0, f64::max);
        let highest = self.curve.iter().map(|point| point.2).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(
                format!("POST /carts, {}: latency against offered rate", self.system),
                ("sans-serif", 16),
            )
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..widest * 1.05, 0.0..highest * 1.1)?;
        chart
            .configure_mesh()
            .x_desc("carts a second")
            .y_desc("milliseconds: p50 blue, p99 red")
            .draw()?;
        let p50 = self.curve.iter().map(|point| (point.0, point.1));
        let p99 = self.curve.iter().map(|point| (point.0, point.2));
        chart.draw_series(LineSeries::new(p50, &BLUE))?;
        chart.draw_series(LineSeries::new(p99, &RED))?;
        area.present().with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The columns of the table after the name.
const COLUMNS: [&str; 9] = [
    "a second",
    "p50 ms",
    "p99 ms",
    "refused",
    "CPU us",
    "cores",
    "of its floor",
    "times its CPU",
    "flush p50 / p99 / p99.9 / max ms",
];

impl Row {
    /// Returns the cells of [`COLUMNS`].
    fn cells(&self) -> [String; COLUMNS.len()] {
        let or_empty = |cell: Option<String>| cell.unwrap_or_default();
        let spread = self.spread.map(|(low, high)| format!(" ({low:.0} to {high:.0})"));
        let share = match self.refused {
            0 => String::new(),
            _ => format!(" ({:.2} %)", self.refused_percent),
        };
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        [
            format!("{:.0}{}", self.rate, or_empty(spread)),
            format!("{:.1}", self.p50_ms),
            format!("{:.1}", self.p99_ms),
            format!("{}{share}{failed}", self.refused),
            or_empty(self.cpu_us.map(|cpu| format!("{cpu:.0}"))),
            or_empty(self.cores.map(|cores| format!("{cores:.2}"))),
            or_empty(self.ratio.map(|ratio| format!("{:.0} %", ratio * 100.0))),
            or_empty(self.cpu_ratio.map(|ratio| format!("{ratio:.1}"))),
            or_empty(self.flushes.map(|Flushes { p50, p99, p999, max }| {
                format!("{p50:.1} / {p99:.1} / {p999:.1} / {max:.1}")
            })),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}; profile {}\n", self.system, self.profile)?;
        writeln!(f, "| what | {} |", COLUMNS.join(" | "))?;
        writeln!(f, "|---|{}", "---:|".repeat(COLUMNS.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} | {} |", row.name, row.cells().join(" | "))?;
        }
        writeln!(f, "\n| | |\n|---|---:|")?;
        self.facts.iter().try_for_each(|(name, value)| writeln!(f, "| {name} | {value} |"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_ratios_to_its_floor() {
        let floor = Row { rate: 8_000.0, cpu_us: Some(200.0), ..Row::default() };
        let shop = Row {
            name: "carts".into(),
            rate: 4_000.0,
            refused: 5,
            refused_percent: 0.125,
            cpu_us: Some(500.0),
            cores: Some(2.0),
            spread: Some((3_900.0, 4_100.0)),
            ..Row::default()
        };
        let rival = Row { name: "rival".into(), rate: 2_000.0, failed: 7, ..Row::default() };
        let mut report = Report::default();
        report.add(shop.clone(), Some(&floor));
        report.add(rival, Some(&shop));
        let table = report.to_string();
        let carts =
            "| carts | 4000 (3900 to 4100) | 0.0 | 0.0 | 5 (0.12 %) | 500 | 2.00 | 50 % | 2.5 |  |";
        assert!(table.contains(carts), "{table}");
        assert!(
            table.contains("| rival | 2000 | 0.0 | 0.0 | 0, 7 failed |  |  | 50 % |  |  |"),
            "{table}"
        );
    }
}
