//! Numbers from noisy samples.

use std::time::Duration;

/// The least of the samples: what the work takes when nothing else gets in its way. Interference only ever adds.
pub(crate) fn least(samples: &[Duration]) -> Duration {
    samples.iter().copied().min().unwrap_or_default()
}

/// The sample that this share of all lie at or below.
pub(crate) fn quantile(samples: &[Duration], share: f64) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// The geometric mean: the one mean that ratios have.
pub(crate) fn geomean(ratios: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) =
        ratios.into_iter().fold((0.0, 0_u32), |(sum, count), ratio| (sum + ratio.ln(), count + 1));
    if count == 0 { f64::NAN } else { (sum / f64::from(count)).exp() }
}
