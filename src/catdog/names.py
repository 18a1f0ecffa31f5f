"""Display names of files, classes, networks and their results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

EXERCISE = {(): "logistic", (4,): "shallow", (5, 5, 3): "deep"}


def shown(name: str) -> str:
    """Return a name for display: escaped if it has unprintable characters, such as line breaks or invalid UTF-8."""
    return name if name.isprintable() else repr(name)


def net_name(hidden: Sequence[int], whitening: int = 0, hog: int = 0) -> str:
    """Name a network as in the exercise, or else by its fixed features and hidden widths."""
    features = " and ".join(name for name, count in (("whitened", whitening), ("HOG", hog)) if count)
    return f"{features} {list(hidden)}" if features else EXERCISE.get(tuple(hidden), str(list(hidden)))


def net_title(options: Mapping[str, Any]) -> str:
    """Name a network with its hidden widths, such as "deep [5, 5, 3]", from a classifier's hyperparameters."""
    name, widths = net_name(options["hidden"], options["whitening"], options["hog"]), str(list(options["hidden"]))
    return name if name.endswith(widths) else f"{name} {widths}"


def describe_weights(weights: str, epochs: Sequence[int], **result: Any) -> str:
    """Name the "last" or "best" weights of each replica, with their epochs and, if given, their test accuracy."""
    first, last = min(epochs), max(epochs)
    when = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    words = {"last": "last weights", "best": "weights of the lowest validation loss"}
    return f"{words[weights]} ({when})" + (f": {_accuracy(result)}" if result else "")


def describe(metrics: dict[str, Any]) -> str:
    """Summarize a run's record in one line: net, epochs, test accuracy."""
    epochs = f"{metrics['epochs']} epoch{'s' * (metrics['epochs'] != 1)}"
    accuracy = _accuracy(metrics)
    if (replicas := len(metrics["replicas"])) == 1:
        return f"{metrics['net']}, {epochs}: test accuracy {accuracy}"
    spread = f"sd {metrics['test/acc_sd']:.3f}"
    return f"{metrics['net']}, {epochs}, {replicas} seeds: mean test accuracy {accuracy}, {spread}"


def _accuracy(result: Mapping[str, Any]) -> str:
    interval = result["test/acc_interval"]
    return f"{result.get('test/acc', math.nan):.3f}" + (" [{:.3f}, {:.3f}]".format(*interval) if interval else "")
