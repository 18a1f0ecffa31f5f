"""Exceptions that a user can cause, and the checks of values that raise them."""

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from importlib.util import find_spec
from math import inf, isfinite, nan
from pathlib import Path


class InputError(ValueError):
    """Invalid input; the message is one sentence that names the value and what is allowed."""


class TooFewPhotosError(InputError):
    """Valid settings for which these photos are too few; a run of a sweep is then skipped, not failed."""


class OtherRunError(InputError):
    """A folder that holds another run, which is left as it is; a sweep ends with it."""


def check_whole_number(key: str, value: object, least: int, most: int | None = None) -> None:
    """Raise an InputError unless the value of this configuration key is a whole number from `least` to `most`."""
    if type(value) is not int or value < least or (most is not None and value > most):
        limit = "" if most is None else f", at most {most}"
        raise InputError(f"{key} must be a whole number of at least {least}{limit}, got {value!r}")


def check_seed(key: str, value: object) -> None:
    """Raise an InputError unless the value is a seed; PyTorch's generators use 32 bits of one and drop the rest."""
    check_whole_number(key, value, least=0, most=2**31 - 1)


def check_number(key: str, value: object, *, least: float = -inf, above: float = -inf, most: float = inf) -> None:
    """Raise an InputError unless the value of this configuration key is a finite number within the limits."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else nan
    if not isfinite(number) or not (least <= number <= most and above < number):
        limits = {"at least": least, "above": above, "at most": most}
        allowed = ", ".join(f"{words} {limit}" for words, limit in limits.items() if isfinite(limit))
        raise InputError(f"{key} must be a number {allowed}, got {value!r}")


def check_choice(key: str, value: object, choices: Collection[object]) -> None:
    """Raise an InputError unless the value of this configuration key is one of the choices."""
    if (type(value), value) not in [(type(choice), choice) for choice in choices]:  # True == 1 in Python
        *others, last = (str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices)
        hint = suggestion(value, map(str, choices)) if isinstance(value, str) else ""
        raise InputError(f"{key} must be {', '.join(others)} or {last}, got {value!r}{hint}")


def reason(error: OSError) -> str:
    """Return the cause of an OSError; one that a library raises may lack an error number and its text."""
    return error.strerror or str(error) or type(error).__name__


def suggestion(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Suggest the name most similar to a mistyped one, ignoring case; return "" if none is similar."""

    def similarity(other: str) -> float:
        return SequenceMatcher(None, name.lower(), other.lower()).ratio()

    best = max(names, key=similarity, default="")
    return f"; did you mean {prefix}{best}?" if similarity(best) >= 0.6 else ""  # difflib's default cutoff


def check_path(key: str, value: object) -> None:
    """Raise an InputError unless the value of this configuration key is a path; Hydra parses some names as numbers."""
    if not isinstance(value, str | Path):
        raise InputError(f"{key} must be a path, got {value!r}; a name like a number needs quotes: {key}=\"'2024'\"")


def check_packages(purpose: str, extra: str, names: Iterable[str]) -> None:
    """Raise an InputError unless the optional packages `names`, which catdog's `extra` installs, are there."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise InputError(f"{purpose} needs {', '.join(missing)}: pip install --editable '.[{extra}]'")
