//! Links itself to the next of its group, as it was typed, and waits: it ends with it. With `trap` to all others: then it
//! prints the news of them, one a line, and ends when all have ended.

use guest::What;

fn main() {
    let this = guest::this();
    let traps = std::env::args().any(|arg| arg == "trap");
    let mut others = guest::group();
    others.retain(|pid| match traps {
        true => *pid != this,
        false => pid.index == this.index + 1,
    });
    guest::trap_exit(traps);
    for other in &others {
        guest::link(*other).expect("it is of the group");
    }
    println!("linked to {}", others.len());
    while !traps || !others.is_empty() {
        let news = guest::receive();
        if news.what == What::Down {
            println!("{} is down: {}", news.from, String::from_utf8_lossy(&news.bytes));
            others.retain(|other| *other != news.from);
        }
    }
}
