//! From single figures to rows: medians, ratios, spreads.

use serde_json::{Value, json};

use super::scenario::{Better, METRICS, Metric, TARGETS, Target};

/// One comparison, as the report has it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The peer.
    pub peer: String,
    /// What is compared.
    pub metric: Metric,
    /// Our figures, one a round.
    pub ours: Vec<f64>,
    /// The peer's of the same rounds.
    pub theirs: Vec<f64>,
}

impl Row {
    /// Our median by the peer's.
    pub fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.theirs)
    }

    /// How far the ratio may be off: half the distance between the least and the greatest ratio of one round, as a part of
    /// the ratio.
    pub fn spread(&self) -> f64 {
        let ratios: Vec<f64> =
            self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ratios.iter().copied().fold(0.0, f64::max);
        (greatest - least) / 2.0 / self.ratio()
    }

    /// What is asked of it.
    pub fn target(&self) -> Option<&'static Target> {
        TARGETS.iter().find(|target| {
            (target.scenario, target.peer, target.metric)
                == (self.scenario.as_str(), self.peer.as_str(), self.metric.name)
        })
    }

    /// Whether the ratio is `limit` or better.
    pub fn reaches(&self, limit: f64) -> bool {
        match self.metric.better {
            Better::Higher => self.ratio() >= limit,
            Better::Lower => self.ratio() <= limit,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "peer": self.peer,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "better": self.metric.better.name(),
            "ours": significant(median(&self.ours)),
            "theirs": significant(median(&self.theirs)),
            "ratio": significant(self.ratio()),
            "runs": self.ours.len(),
            "spread": significant(self.spread()),
        })
    }
}

/// The middle one of `figures`; not a number without any.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// `value` with four digits that count.
fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// The metric of that name.
pub fn metric(name: &str) -> Option<Metric> {
    METRICS.into_iter().find(|metric| metric.name == name)
}

/// The whole report, `dwcp.bench-peers/v1`. `machine`: where it was measured.
pub fn report(machine: &Value, rows: &[Row]) -> Value {
    let targets: Vec<Value> = TARGETS
        .iter()
        .map(|one| {
            json!({
                "scenario": one.scenario, "peer": one.peer, "metric": one.metric,
                "pass": one.pass, "aim": one.aim,
            })
        })
        .collect();
    json!({
        "schema": "dwcp.bench-peers/v1",
        "machine": machine,
        "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        "targets": targets,
    })
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{BYTES, RTT};
    use super::*;

    fn row(metric: Metric, ours: &[f64], theirs: &[f64]) -> Row {
        let (scenario, peer) = ("bulk-64k".to_owned(), "tokio-rustls".to_owned());
        Row { scenario, peer, metric, ours: ours.to_vec(), theirs: theirs.to_vec() }
    }

    #[test]
    fn a_row_compares_medians_and_tells_how_far_rounds_differ() {
        let row = row(BYTES, &[2.0, 4.0, 3.0], &[2.0, 2.0, 2.0]);
        assert_eq!(row.ratio(), 1.5);
        assert!((row.spread() - 1.0 / 3.0).abs() < 1e-12, "{}", row.spread());
        let json = row.to_json();
        assert_eq!((json["ratio"].as_f64(), json["runs"].as_u64()), (Some(1.5), Some(3)));
        assert_eq!(json["better"], "higher");
        assert!(row.target().is_some_and(|target| row.reaches(target.pass)));
    }

    #[test]
    fn less_is_better_where_the_metric_says_so() {
        let row = row(RTT, &[1.0], &[2.0]);
        assert!(row.reaches(0.5) && !row.reaches(0.49));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(significant(1_234_567.0), 1_235_000.0);
        assert_eq!(significant(0.012_345_6), 0.012_35);
    }
}
