//! The bodies of the fuzz targets that concern bytes from outside, for a second each.

mod hostile;
#[path = "../../../tests/seeded.rs"]
mod seeded;

use std::collections::BTreeMap;

use wire::{Epoch, GroupId, Letters, NodeId, Offer, Owner, Pid, Section};

#[test]
fn random_messages_are_refused_or_read_as_they_are_written() {
    let mut read = BTreeMap::new();
    let section = wire::encode(&empty_section());
    seeded::run(|mut random| {
        // A section is too long to be come by at random: some rounds begin with a whole one.
        let bytes = if random.below(8) == 0 {
            random.damaged(&section)
        } else {
            let length = random.below(96);
            let mut bytes = random.small_bytes(length);
            bytes.insert(0, wire::WIRE_VERSION);
            bytes
        };
        for (name, again) in hostile::TYPES {
            *read.entry(name).or_insert(0_u64) += u64::from(cut_to_fit(&bytes, again)?);
        }
        Ok(())
    });
    println!("{read:?}");
    assert!(read.values().all(|count| *count > 0), "not every type was ever read: {read:?}");
}

fn empty_section() -> Section {
    Section {
        pid: Pid { group: GroupId(1), index: 0 },
        offer: Offer(1),
        owner: Owner::File,
        epoch: Epoch(1),
        home: NodeId(1),
        name: None,
        together: true,
        durable: Some(1_000),
        acknowledged: 0,
        output: vec![],
        letters: Letters::default(),
    }
}

/// What is left over after a value is refused, so that prefixes are tried, the longest first.
fn cut_to_fit(bytes: &[u8], again: hostile::Again) -> Result<bool, String> {
    for length in (0..=bytes.len()).rev() {
        if again(&bytes[..length])? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn random_images_are_refused_or_read_however_they_are_cut() {
    let (mut images, mut records, mut refused) = (0_u64, 0, 0_u64);
    seeded::run(|mut random| {
        let length = random.below(600);
        let image = hostile::forged(&random.small_bytes(length));
        let cut = random.next() as u8;
        let found = hostile::image(&image, cut)?;
        images += u64::from(found.is_some());
        records += found.unwrap_or(0);
        let damaged = random.damaged(&image);
        refused += u64::from(hostile::image(&damaged, cut)?.is_none());
        Ok(())
    });
    println!("{images} images of {records} records, {refused} damaged ones refused");
    assert!(images > 0 && refused > 0);
}
