//! Site tables and frames come from outside: cut short, or with any bit changed, they are refused
//! or they are harmless, but nothing panics.

mod harness;

use transform::{Options, Sites, transform};

const CASE: &str = include_str!("../../../tests/transform/indirect.wat");

fn sites() -> Sites {
    let wasm = wat::parse_str(CASE).unwrap();
    transform(&wasm, &Options::default()).unwrap().sites
}

/// One good frame of each site that can be innermost.
fn frames(sites: &Sites) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let sane = |function: &transform::sites::Function| function.frame_bytes < 1 << 16;
    let functions = sites.functions.iter_enumerated().filter(|(_, function)| sane(function));
    for (function, described) in functions {
        for (site, _) in described.sites.iter_enumerated() {
            let mut frame = vec![0; described.frame_bytes as usize - 8];
            frame.extend(function.0.to_le_bytes());
            frame.extend(site.0.to_le_bytes());
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn a_site_table_cut_short_or_changed_never_panics() {
    let bytes = sites().encode();
    assert!(Sites::decode(&bytes).is_ok());
    for end in 0..bytes.len() {
        assert!(Sites::decode(&bytes[..end]).is_err(), "{end} bytes are not a table");
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(sites) = Sites::decode(&changed) {
            for frame in frames(&sites).into_iter().take(8) {
                _ = sites.check_frames(&frame, 1);
            }
        }
    }
}

#[test]
fn frames_cut_short_or_changed_never_panic() {
    let sites = sites();
    let frames = frames(&sites);
    let good = frames.iter().filter(|frame| sites.check_frames(frame, 1).is_ok()).count();
    assert!(good > 0, "some frames are good");
    for inner in &frames {
        for outer in &frames {
            let both = [inner.as_slice(), outer].concat();
            for end in 0..both.len() {
                _ = sites.check_frames(&both[..end], 1);
            }
            for bit in 0..both.len() * 8 {
                let mut changed = both.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                _ = sites.check_frames(&changed, 1);
            }
        }
    }
}

#[test]
fn frames_that_cannot_follow_each_other_are_refused() {
    let sites = sites();
    let frames = frames(&sites);
    let innermost: Vec<_> =
        frames.iter().filter(|frame| sites.check_frames(frame, 1).is_ok()).collect();
    for inner in &innermost {
        for outer in &innermost {
            let both = [inner.as_slice(), outer].concat();
            assert!(sites.check_frames(&both, 1).is_err(), "a poll calls nothing");
        }
        assert!(sites.check_frames(&inner[..inner.len() - 1], 1).is_err());
    }
    assert!(sites.check_frames(&[], 0).is_err(), "there is always a frame");
}
