//! Measured values, and statistics of them.

use serde_json::{Value, json};

/// Values in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Creates samples from values in any order.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// The number of samples.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The value at `share` (0 to 1) of the ordered samples, or the nearest existing value; NaN without samples.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The middle value.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Median and quartiles for a table, with so many decimals.
    pub(crate) fn shown(&self, decimals: usize) -> String {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| format!("{:.decimals$}", self.quantile(share)));
        format!("{median} ({low}-{high})")
    }

    /// The statistics as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "samples": self.len(),
            "minimum": self.quantile(0.0),
            "lowerQuartile": self.quantile(0.25),
            "median": self.median(),
            "upperQuartile": self.quantile(0.75),
            "p99": self.quantile(0.99),
            "maximum": self.quantile(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = Samples::new((0..=100).rev().map(f64::from).collect());
        let found = [0.0, 0.25, 0.5, 0.99, 1.0].map(|share| samples.quantile(share));
        assert_eq!(found, [0.0, 25.0, 50.0, 99.0, 100.0]);
        assert_eq!(samples.shown(1), "50.0 (25.0-75.0)");
        assert_eq!(Samples::new(vec![7.0]).quantile(0.99), 7.0);
        assert!(Samples::new(Vec::new()).median().is_nan());
    }
}
