//! Sends each message back to where it came from, until one is empty. Says how many there were.

fn main() {
    let (mut bytes, mut count) = (Vec::new(), 0_u64);
    loop {
        let (from, _) = guest::receive_into(&mut bytes);
        if bytes.is_empty() {
            break;
        }
        guest::send(from, &bytes).expect("its sender may be answered");
        count += 1;
    }
    println!("{count} sent back");
}
