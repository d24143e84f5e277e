//! The report of a run as a table, as JSON and as a plot.

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
    /// CPU time of the shop for each request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Answers with 404, 409 and 503, and their share in percent.
    pub(crate) refused: u64,
    pub(crate) refused_percent: f64,
    /// This rate divided by the rate of its floor in the same run.
    pub(crate) ratio: Option<f64>,
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
    /// Adds a measurement, with its ratio to the rate of a floor, if one is given.
    pub(crate) fn add(&mut self, mut row: Row, floor: Option<f64>) {
        row.ratio = floor.map(|floor| row.rate / floor);
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}; profile {}\n", self.system, self.profile)?;
        writeln!(f, "| what | a second | p50 ms | p99 ms | CPU us | of its floor | refused |")?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|")?;
        for row in &self.rows {
            let ratio = row.ratio.map_or(String::new(), |ratio| format!("{:.0} %", ratio * 100.0));
            let refused = match row.refused {
                0 => "0".to_owned(),
                refused => format!("{refused} ({:.2} %)", row.refused_percent),
            };
            writeln!(
                f,
                "| {} | {:.0} | {:.1} | {:.1} | {:.0} | {ratio} | {refused} |",
                row.name, row.rate, row.p50_ms, row.p99_ms, row.cpu_us
            )?;
        }
        writeln!(f, "\n| | |\n|---|---:|")?;
        self.facts.iter().try_for_each(|(name, value)| writeln!(f, "| {name} | {value} |"))
    }
}
