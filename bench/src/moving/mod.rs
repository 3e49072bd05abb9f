//! `bench move`: what a move costs the process that is moved.

mod tls;

use crate::report::Report;

pub(crate) fn run() -> Result<Report, String> {
    let mut report = Report::new("move");
    let content: Vec<u8> = (0..64_u64 << 20)
        .map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let bytes = 256 << 20;
    let raw = tls::copy(&content, bytes)?;
    report.push("tls-256mb-mib-per-s", 256.0 / raw.as_secs_f64(), "MiB/s");
    Ok(report)
}
