//! Latency over rate, as a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::outcome::Outcome;

const SIZE: (u32, u32) = (900, 500);

/// Draws the median and the 99th percentile of placed to confirmed over the rate, on a logarithmic scale.
pub(super) fn write(file: &Path, mut outcomes: Vec<&Outcome>) -> Result<()> {
    outcomes.sort_by(|one, two| one.rate.total_cmp(&two.rate));
    let latency = |of: fn(&Outcome) -> f64| -> Vec<(f64, f64)> {
        outcomes.iter().map(|outcome| (outcome.rate, of(outcome).max(1.0))).collect()
    };
    let curves = [
        ("p50", BLUE, latency(|outcome| outcome.confirmed.p50_ms)),
        ("p99", RED, latency(|outcome| outcome.confirmed.p99_ms)),
    ];
    let fastest = outcomes.iter().map(|outcome| outcome.rate).fold(1.0, f64::max);
    let slowest = outcomes.iter().map(|outcome| outcome.confirmed.p99_ms).fold(10.0, f64::max);
    draw(file, &curves, fastest * 1.05, slowest * 1.5)
        .map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

type Curve<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

fn draw(
    file: &Path,
    curves: &[Curve<'_>],
    fastest: f64,
    slowest: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Placed to confirmed", ("sans-serif", 20))
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..fastest, (1.0..slowest).log_scale())?;
    chart.configure_mesh().x_desc("orders a second").y_desc("ms").draw()?;
    for (name, colour, points) in curves {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), &colour).point_size(3))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
