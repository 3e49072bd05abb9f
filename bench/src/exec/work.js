// Objects, closures, arrays, maps, strings, regular expressions, sorting. Prints what it found, so that two runs can be
// compared.
class Vector {
  constructor(x, y) { this.x = x; this.y = y; }
  add(other) { return new Vector(this.x + other.x, this.y + other.y); }
  get length() { return Math.sqrt(this.x * this.x + this.y * this.y); }
}

function vectors(rounds) {
  let sum = new Vector(0, 0);
  for (let i = 0; i < rounds; i++) sum = sum.add(new Vector(i % 7, (i * 3) % 11));
  return sum.length.toFixed(3);
}

function sorted(size) {
  let seed = 42;
  const numbers = Array.from({ length: size }, () => (seed = (seed * 1103515245 + 12345) % 2147483648));
  numbers.sort((a, b) => a - b);
  return numbers[size >> 1];
}

function words(rounds) {
  const counts = new Map();
  for (let i = 0; i < rounds; i++)
    for (const word of "the quick brown fox jumps over the lazy dog".split(/\s+/))
      counts.set(word, (counts.get(word) ?? 0) + 1);
  return JSON.stringify([...counts].slice(0, 2));
}

const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));

print(vectors(200000), sorted(30000), words(5000), fib(23));
