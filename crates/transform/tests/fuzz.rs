//! The bodies of the fuzz targets that concern the transform, for a second each.

mod bytes;
mod harness;
mod oracle;
#[path = "../../../tests/seeded.rs"]
mod seeded;

#[test]
fn random_modules_survive_every_freeze() {
    let engine = harness::quick_engine();
    let mut seen = oracle::Seen::default();
    seeded::run(|mut random| {
        let words = 64 + random.next() % 512;
        let bytes: Vec<u8> = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        oracle::check(&engine, &bytes).map(|found| seen.add(&found))
    });
    println!("{seen:?}");
    assert!(seen.freezes > 0, "nothing was ever frozen");
}

#[test]
fn random_site_tables_are_refused_or_harmless() {
    let good = bytes::example();
    let (mut decoded, mut framed) = (0, 0);
    seeded::run(|mut random| {
        let table = random.damaged(&good);
        let frames = bytes::frames(&mut || random.next());
        let found = bytes::check(&table, &frames)?;
        decoded += u64::from(found.decoded);
        framed += u64::from(found.framed);
        Ok(())
    });
    println!("{decoded} tables decoded, {framed} stacks of frames were good");
    assert!(decoded > 0 && framed > 0, "nothing hostile got past the first check");
}
