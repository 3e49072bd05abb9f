//! Sends what cannot be delivered, and the longest that can, and prints what comes of each.
//!
//! The second member of its group says how long the first message is that it gets, and ends.

use std::time::Duration;

use guest::{MESSAGE_BYTES_MAX, Pid, SendError};

fn main() {
    let (this, group) = (guest::this(), guest::group());
    if this != group[0] {
        let message = guest::receive();
        let sum: u64 = message.bytes.iter().map(|byte| u64::from(*byte)).sum();
        let said = format!("{} {sum}", message.bytes.len());
        return guest::send(message.from, said.as_bytes()).expect("its sender may be answered");
    }
    let other = group[1];
    let mut bytes = vec![3; MESSAGE_BYTES_MAX + 1];
    println!("too long: {:?}", guest::send(other, &bytes));
    bytes.truncate(MESSAGE_BYTES_MAX);
    println!("longest: {:?}", guest::send(other, &bytes));
    let answer = guest::receive();
    println!("arrived: {}", String::from_utf8_lossy(&answer.bytes));
    println!("ended: {:?}", until_refused(other));
    println!("unknown: {:?}", until_refused(Pid { index: 4_000_000, ..this }));
    println!("foreign: {:?}", guest::send(Pid { group: this.group + 1, ..this }, b"hello"));
}

/// Sends until that is an error: that a receiver is no more, a node may have to hear first.
fn until_refused(to: Pid) -> SendError {
    loop {
        if let Err(error) = guest::send(to, b"hello") {
            return error;
        }
        let _ = guest::receive_within(Duration::from_millis(5));
    }
}
