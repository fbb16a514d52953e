"""Globs that nobody meant: each is refused with a reason, or costs a bounded number of steps per byte."""

import contextlib
import random

import pytest
from tests.support.steps import steps

from trunkline.contracts import errors, glob_positions, globs
from trunkline.contracts.glob_groups import Groups

SOME, MANY = 3_000, 100_000

COMPILING_PER_BYTE, COMPILING_AT_LEAST = 60, 3_000
EXCLUDING = 400_000
"""What compiling costs at most where something is excluded, which needs an automaton of its own."""
MATCHING_PER_POSITION, FINDING_PER_PLACE, PER_CHARACTER = 7, 7, 60

SEEDS = [
    "/",
    "/*",
    "urls/*",
    "/{a,b}/**/[a-z]*",
    "/test/(a|b)/(*).go",
    "/a*(b|c)d?(e)+(f|g)@(h)",
    "/!(*.js|*.json)",
    "/!(a|!(b|c*))/x",
    "/[!a-c][[:alpha:]_]\\[é]",
    "/(*)-(*)_(????-??-??).{csv,tsv}",
    "/**(**|*(*(a)|+(b)))",
]
ALPHABET = "aab/*?[]{}()|!@+^-,:\\.é\x00\U0001f600"
HOSTILE = [
    ("/" + "*a" * 99 + "b", "/" + "a" * 300),
    ("/" + "**a" * 99 + "b", "/" + "a/" * 150 + "a"),
    ("/" + "{a,a,aa}" * 127, "/" + "a" * 300),
    ("/" + "{a,}" * 255, "/" + "a" * 300),
    ("/**" + "?" * 1000, "/" + "a" * 300),
    ("/" + "{" * 30 + "*" + "}*" * 30 + "x", "/" + "a" * 300),
    ("/" + "*(*(" * 16 + "a" + "))" * 16 + "b", "/" + "a" * 300),
    ("/" + "+(a|aa|a?)" * 30 + "b", "/" + "a" * 300),
    ("/" + "!(a)" * 32, "/" + "a" * 300),
    ("/" + "!(*a)" * 32 + "b", "/" + "a" * 300),
    ("/" + "!(" * 30 + "*a*b" + ")" * 30, "/" + "ab" * 200),
    ("/*!(*a???????)", "/" + "ab" * 200),
    ("/!(" + "|".join(f"*{n:x}{n:x}" for n in range(60)) + ")*", "/" + "0123456789abcdef" * 20),
]


def garbled(rng: random.Random) -> str:
    """Return a pattern that is a mutation of one or two good ones, or noise."""
    if rng.random() < 0.1:
        return "".join(rng.choices(ALPHABET, k=rng.randrange(60)))
    pattern = rng.choice(SEEDS)
    for _ in range(rng.randrange(1, 6)):
        at, end = sorted(rng.choices(range(len(pattern) + 1), k=2))
        match rng.randrange(4):
            case 0:
                pattern = pattern[:at] + rng.choice(ALPHABET) + pattern[at:]
            case 1:
                pattern = pattern[:at] + pattern[end:]
            case 2:
                pattern = (
                    pattern[:end] + pattern[at:end] * rng.choice([1, 1, 2, 30]) + pattern[end:]
                )
            case _:
                pattern = pattern[:at] + rng.choice(SEEDS) + pattern[at:]
    return pattern


def a_path(rng: random.Random, pattern: str) -> str:
    """Return a path with some of the pattern's characters in it."""
    letters = [each for each in pattern if each.isalnum()] + ["a", "/", ".", "b"]
    parts = "".join(rng.choices(letters, k=rng.randrange(40))).split("/")
    return "/" + "/".join(part for part in parts if part)


def is_bounded(pattern: str, path: str) -> bool:
    """Check the steps of a pattern and a path; return whether the pattern is a glob."""
    made: list[globs.Glob] = []

    def compile_it() -> None:
        with contextlib.suppress(errors.InvalidGlobError):
            made.append(globs.compile(pattern))

    size = len(pattern.encode("utf-8", "replace"))
    most = COMPILING_AT_LEAST + COMPILING_PER_BYTE * size + ("!(" in pattern) * EXCLUDING
    assert steps(compile_it) < most, pattern
    for glob in made:
        positions = glob._positions.count
        assert positions <= glob_positions.MOST
        most = (len(path) + 1) * (PER_CHARACTER + MATCHING_PER_POSITION * positions)
        assert steps(lambda: glob.matches(path)) < most, (pattern, path)  # noqa: B023
        held = Groups(glob._parsed)
        most = (len(path) + 1) * (PER_CHARACTER + FINDING_PER_PLACE * len(held._program))
        assert steps(lambda: held.find(path)) < most, (pattern, path)  # noqa: B023
        assert len(held._program) <= 2 * glob_positions.MOST + size
    return bool(made)


def fuzz(seed: int, count: int) -> None:
    rng = random.Random(seed)
    taken = 0
    for _ in range(count):
        pattern = garbled(rng)
        taken += is_bounded(pattern, a_path(rng, pattern))
    assert count / 4 < taken < count  # or what is tried is not what matters


@pytest.mark.parametrize(("pattern", "path"), HOSTILE)
def test_no_pattern_takes_more_steps_than_its_size_allows(pattern, path):
    assert is_bounded(pattern, path)


def test_garbled_globs_cost_a_bounded_number_of_steps_per_byte():
    fuzz(seed=1, count=SOME)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [2, 3])
def test_a_hundred_thousand_garbled_globs_cost_a_bounded_number_of_steps_per_byte(seed):
    fuzz(seed, MANY // 2)
