//! Planets under gravity: floating point in a small working set, and the smallest process worth moving.
//!
//! Arguments: rounds of 1,000 steps (0: for ever). With a second argument `talk`, prints the energy after each round.

use guests::{argument, rounds};

const STEPS: u32 = 1_000;
const STEP: f64 = 0.01;

#[derive(Clone, Copy)]
struct Body {
    place: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

/// A sun and four planets on tidy made-up orbits; what counts is the arithmetic.
fn system() -> [Body; 5] {
    let mut bodies = [Body { place: [0.0; 3], speed: [0.0; 3], mass: 39.47 }; 5];
    for (index, body) in bodies.iter_mut().enumerate().skip(1) {
        let distance = 3.0 + 5.0 * index as f64;
        body.mass = 0.04 / index as f64;
        body.place = [distance, 0.1 * index as f64, 0.05];
        body.speed = [0.02, (39.47 / distance).sqrt(), 0.01 * index as f64];
    }
    bodies
}

fn advance(bodies: &mut [Body; 5]) {
    for first in 0..bodies.len() {
        for second in first + 1..bodies.len() {
            let mut apart = [0.0; 3];
            for (axis, gap) in apart.iter_mut().enumerate() {
                *gap = bodies[first].place[axis] - bodies[second].place[axis];
            }
            let squared = apart.iter().map(|gap| gap * gap).sum::<f64>();
            let pull = STEP / (squared * squared.sqrt());
            let (mass_first, mass_second) = (bodies[first].mass, bodies[second].mass);
            for (axis, gap) in apart.iter().enumerate() {
                bodies[first].speed[axis] -= gap * mass_second * pull;
                bodies[second].speed[axis] += gap * mass_first * pull;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body.place[axis] += STEP * body.speed[axis];
        }
    }
}

fn energy(bodies: &[Body; 5]) -> f64 {
    let mut sum = 0.0;
    for (index, body) in bodies.iter().enumerate() {
        sum += 0.5 * body.mass * body.speed.iter().map(|speed| speed * speed).sum::<f64>();
        for other in &bodies[index + 1..] {
            let squared: f64 =
                (0..3).map(|axis| (body.place[axis] - other.place[axis]).powi(2)).sum();
            sum -= body.mass * other.mass / squared.sqrt();
        }
    }
    sum
}

fn main() {
    let talk = argument(1, String::new()) == "talk";
    let rounds = rounds(1);
    let mut bodies = system();
    let mut round = 0_u64;
    while rounds == 0 || round < rounds.into() {
        for _ in 0..STEPS {
            advance(&mut bodies);
        }
        round += 1;
        if talk {
            println!("{round} {:.9}", energy(&bodies));
        }
    }
    println!("n_body {:016x}", energy(&bodies).to_bits());
}
