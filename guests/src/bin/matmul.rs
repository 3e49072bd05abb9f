//! Dense matrix product: three nested loops over floats, the inner one short and hot.

use std::hint::black_box;

const SIDE: usize = 96;

fn multiply(a: &[f64], b: &[f64], out: &mut [f64]) {
    for row in 0..SIDE {
        for column in 0..SIDE {
            let mut sum = 0.0;
            for inner in 0..SIDE {
                sum += a[row * SIDE + inner] * b[inner * SIDE + column];
            }
            out[row * SIDE + column] = sum;
        }
    }
}

fn main() {
    let a: Vec<f64> = (0..SIDE * SIDE).map(|index| (index % 17) as f64 * 0.25).collect();
    let b: Vec<f64> = (0..SIDE * SIDE).map(|index| (index % 13) as f64 * 0.5).collect();
    let mut out = vec![0.0; SIDE * SIDE];
    let mut sum = 0;
    for _ in 0..guests::rounds(1) {
        multiply(black_box(&a), black_box(&b), &mut out);
        sum = guests::fold(sum, black_box(&out)[SIDE + 1].to_bits());
    }
    println!("matmul {sum:016x}");
}
