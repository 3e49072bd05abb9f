//! Sends numbered messages to another member of its group (`catch`) as fast as they are taken, and ends at once.
//!
//! Arguments: how many (default 100), how long each is (default 2,000 bytes), how many places further the other is
//! (default 1).

use guests::argument;

fn main() {
    let (count, length): (u64, usize) = (argument(0, 100), argument(1, 2_000));
    let (this, group) = (guest::this(), guest::group());
    let place = group.iter().position(|pid| *pid == this).expect("a process is in its group");
    let catch = group[(place + argument(2, 1)) % group.len()];
    let mut message = vec![0; length.max(8)];
    for number in 0..count {
        message[..8].copy_from_slice(&number.to_le_bytes());
        guest::send(catch, &message).expect("it is of the group");
    }
}
