"""What a configuration may build: classes of catdog, Lightning, PyTorch and torchmetrics, and nothing else."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from catdog.errors import InputError

NAMESPACES = ("catdog", "lightning", "torch", "torchmetrics")


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise an InputError if the command line names a `_target_` outside the namespaces.

    This comes before Hydra, which builds what its own part of the configuration names before it calls anybody.
    """
    for argument in arguments:
        for names in re.findall(r"_target_['\"]?\s*[=:]\s*([^\s{}\[\]]+)", argument):
            for name in filter(None, names.split(",")):
                check_namespace(name.strip("'\""))


def check_config(config: Any) -> None:
    """Raise an InputError if anything in a configuration has a `_target_` that is not a class of the namespaces.

    The name alone does not tell: `torch.os.system` is a name in `torch`, and not a function of it.
    """
    for name in _targets(config):
        check_namespace(name)
        check_class(_find(name), name)


def check_class(found: Any, name: str, others: Sequence[str] = ()) -> None:
    """Raise an InputError unless what a name has led to is a class of the namespaces, or of some others."""
    if not isinstance(found, type):
        raise InputError(f"_target_: {name} is not a class")
    check_namespace(f"{found.__module__}.{found.__qualname__}", others)


def check_namespace(name: str, others: Sequence[str] = ()) -> None:
    """Raise an InputError unless a dotted name begins with one of the namespaces, or of some others."""
    if name.split(".")[0] not in (*NAMESPACES, *others):
        raise InputError(f"_target_ must be a class of {', '.join(NAMESPACES[:-1])} or {NAMESPACES[-1]}, got {name}")


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _targets(value)


def _find(name: str) -> Any:
    """What a dotted name stands for: a module as far as there are modules, attributes after that."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
            for part in parts[length:]:
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError):
            continue
        return found
    return None
