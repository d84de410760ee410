"""What is typed for an argument of a command, as a value."""

import argparse
from typing import Any


def positive(text: str) -> int:
    """A number that is at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def sizes(text: str) -> tuple[int, ...]:
    """Sizes: 1x64x56x56."""
    try:
        return tuple(int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be sizes joined by x, as in 1x64x56x56, got {text!r}") from None


def ints(text: str) -> int | tuple[int, ...]:
    """A number, or one an axis: 3, 2x2."""
    found = sizes(text)
    return found[0] if len(found) == 1 else found


def padding(text: str) -> Any:
    """Numbers, pairs before:after, or a name: 1, 1x0, 0:2x0:1, same."""
    if text in ("same", "same_lower", "valid"):
        return text
    if ":" not in text:
        return ints(text)
    pairs = tuple(sizes(pair.replace(":", "x")) for pair in text.lower().split("x"))
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"must be pairs before:after joined by x, as in 0:2x0:1, got {text!r}")
    return pairs


def names(text: str) -> tuple[str, ...]:
    """Names: direct,loops."""
    return tuple(name for name in text.split(",") if name)
