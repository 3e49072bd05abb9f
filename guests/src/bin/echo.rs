//! What comes in goes out, as it comes: for tests of standard streams.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = [0; 4096];
    loop {
        match input.read(&mut buffer)? {
            0 => return output.flush(),
            length => output.write_all(&buffer[..length]).and_then(|()| output.flush())?,
        }
    }
}
