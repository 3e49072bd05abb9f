//! Watches the others of its group, prints the news of them, one a line, and ends when all have ended.

use guest::What;

fn main() {
    let this = guest::this();
    let mut others = guest::group();
    others.retain(|pid| *pid != this);
    for other in &others {
        guest::monitor(*other).expect("it is of the group");
    }
    println!("watching {}", others.len());
    while !others.is_empty() {
        let news = guest::receive();
        let (from, reason) = (news.from, String::from_utf8_lossy(&news.bytes));
        match news.what {
            What::Down => {
                println!("{from} is down: {reason}");
                others.retain(|other| *other != from);
            }
            What::Silent => println!("{from} is silent"),
            What::Back => println!("{from} is back"),
            What::Message | What::Other(_) => println!("{from} has said: {reason}"),
        }
    }
}
