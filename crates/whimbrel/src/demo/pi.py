import sys

def digits():
    q, r, t, k, n, l = 1, 0, 1, 1, 3, 3
    while True:
        if 4 * q + r - t < n * t:
            yield n
            q, r, n = 10 * q, 10 * (r - n * t), 10 * (3 * q + r) // t - 10 * n
        else:
            q, r, t, k, n, l = (
                q * k,
                (2 * q + r) * l,
                t * l,
                k + 1,
                (q * (7 * k + 2) + r * l) // (t * l),
                l + 2,
            )

for at, digit in zip(range(1, int(sys.argv[1]) + 1), digits()):
    sys.stdout.write(str(digit))
    if at % 10 == 0:
        sys.stdout.write("\n" if at % 50 == 0 else " ")
        sys.stdout.flush()
print()
