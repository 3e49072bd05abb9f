//! SHA-256 over a buffer: straight-line integer code in a loop of 64 rounds.

const BUFFER: usize = 64 * 1024;

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes, worked out rather than typed.
fn constants() -> [u32; 64] {
    let mut constants = [0; 64];
    let mut found = 0;
    let mut candidate = 2_u128;
    while found < 64 {
        if (2..candidate)
            .take_while(|divisor| divisor * divisor <= candidate)
            .all(|divisor| !candidate.is_multiple_of(divisor))
        {
            constants[found] = cube_root_fraction(candidate);
            found += 1;
        }
        candidate += 1;
    }
    constants
}

/// floor(cbrt(n) · 2³²) mod 2³², by bisection in integers.
fn cube_root_fraction(n: u128) -> u32 {
    let (mut low, mut high) = (0_u128, 1 << 36);
    while high - low > 1 {
        let middle = u128::midpoint(low, high);
        // middle³ ≤ n · 2⁹⁶, without leaving 128 bits: n < 512 and middle < 2³⁶ keep both sides below 2¹⁰⁸.
        if middle * middle * middle <= n << 96 { low = middle } else { high = middle }
    }
    low as u32
}

fn compress(state: &mut [u32; 8], block: &[u8], constants: &[u32; 64]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes(bytes.try_into().expect("chunks of four"));
    }
    for index in 16..64 {
        let (early, late) = (words[index - 15], words[index - 2]);
        let s0 = early.rotate_right(7) ^ early.rotate_right(18) ^ (early >> 3);
        let s1 = late.rotate_right(17) ^ late.rotate_right(19) ^ (late >> 10);
        words[index] =
            words[index - 16].wrapping_add(s0).wrapping_add(words[index - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for index in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let first = h
            .wrapping_add(s1)
            .wrapping_add(choice)
            .wrapping_add(constants[index])
            .wrapping_add(words[index]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        (h, g, f, e, d, c, b) = (g, f, e, d.wrapping_add(first), c, b, a);
        a = first.wrapping_add(s0).wrapping_add(majority);
    }
    for (word, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(value);
    }
}

fn main() {
    let constants = constants();
    let buffer: Vec<u8> = (0..BUFFER).map(|index| (index * 31 % 251) as u8).collect();
    // The square roots' fractions of the first eight primes.
    let mut state = [2_f64, 3., 5., 7., 11., 13., 17., 19.]
        .map(|prime| (prime.sqrt().fract() * 4_294_967_296.0) as u32);
    for _ in 0..guests::rounds(1) {
        for block in buffer.chunks_exact(64) {
            compress(&mut state, block, &constants);
        }
    }
    let digest: String = state.iter().map(|word| format!("{word:08x}")).collect();
    println!("sha2 {digest}");
}
