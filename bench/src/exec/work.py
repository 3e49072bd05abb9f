# What people do with Python, in small: objects, dictionaries, text, sorting, recursion, generators, JSON, regular
# expressions. Prints what it found, so that two runs can be compared.
import collections
import json
import re


class Account:
    def __init__(self, name, balance):
        self.name = name
        self.balance = balance

    def move(self, other, amount):
        if amount <= self.balance:
            self.balance -= amount
            other.balance += amount
            return True
        return False


def accounts(rounds):
    all_accounts = [Account("a%d" % n, 1000) for n in range(50)]
    seed, done = 12345, 0
    for _ in range(rounds):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        done += all_accounts[seed % 50].move(all_accounts[seed // 64 % 50], seed % 97)
    return done, sum(account.balance for account in all_accounts)


def words(rounds):
    text = "the quick brown fox jumps over the lazy dog and runs away from the bear " * 20
    counts = collections.Counter()
    for _ in range(rounds):
        counts.update(re.findall(r"[a-z]+", text))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]


def queens(size):
    def place(row, columns, left, right):
        if row == size:
            yield 1
        for column in range(size):
            if column not in columns and row + column not in left and row - column not in right:
                yield from place(row + 1, columns | {column}, left | {row + column}, right | {row - column})

    return sum(place(0, frozenset(), frozenset(), frozenset()))


def documents(rounds):
    total = 0
    for index in range(rounds):
        text = json.dumps({"index": index, "squares": [n * n for n in range(20)], "name": "n%d" % index})
        total += sum(json.loads(text)["squares"]) + len(text)
    return total


def floats(rounds):
    x, total = 0.5, 0.0
    for _ in range(rounds):
        x = 3.7 * x * (1.0 - x)
        total += x
    return "%.6f" % total


print(accounts(60_000), words(25), queens(6), documents(700), floats(120_000))
