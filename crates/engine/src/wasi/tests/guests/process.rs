//! What a program has beside files: arguments, environment, clocks, sleep, input, output, chance,
//! and where it runs.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, Read};
use std::time::{Duration, Instant, SystemTime};

fn main() {
    println!("{:?}", std::env::args().collect::<Vec<_>>());
    println!("{:?} {:?}", std::env::var("COLOUR"), std::env::var("HOME").is_err());
    let lines = std::io::stdin().lock().lines().take(2);
    println!("{:?}", lines.collect::<Result<Vec<_>, _>>().unwrap());
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    println!("{rest:?}");

    let (began, wall) = (Instant::now(), SystemTime::now());
    std::thread::sleep(Duration::from_millis(20));
    let slept = began.elapsed();
    println!("slept {}", slept >= Duration::from_millis(20) && slept < Duration::from_secs(20));
    println!("wall {}", wall.elapsed().unwrap() >= Duration::from_millis(20));
    let chance = (RandomState::new().hash_one(1), RandomState::new().hash_one(1));
    println!("chance {}", chance.0 != chance.1);

    for file in ["self", "node", "epoch"] {
        print!("{}", std::fs::read_to_string(format!("/whimbrel/{file}")).unwrap());
    }
    let mut names: Vec<_> =
        std::fs::read_dir("/whimbrel").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    println!("{names:?}");
    eprintln!("to the other stream");
    std::process::exit(17);
}
