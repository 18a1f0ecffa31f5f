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


def percent(result: Mapping[str, Any]) -> str:
    """Format a result's test accuracy, with its interval if it has one, such as "72.0 % [65.4, 77.8]"."""
    accuracy, interval = 100 * result.get("test/acc", math.nan), result["test/acc_interval"] or ()
    return f"{accuracy:.1f} %" + (" [{:.1f}, {:.1f}]".format(*(100 * end for end in interval)) if interval else "")


def describe(record: Mapping[str, Any]) -> str:
    """Summarize a run's record in one line: net, epoch of the tested weights, test accuracy."""
    nets = [replica["tested_epoch"] or record["epochs"] for replica in record["replicas"]]
    several = f", mean of {len(nets)} nets" if len(nets) > 1 else ""
    spread = f", sd {100 * record['test/acc_sd']:.1f}" if several else ""
    result = f"{percent(record)} of {record['tested']:,} test photos right{spread}"
    return f"{record['net']}{several}, {_epochs(nets)}: {result}"


def describe_weights(weights: str, epochs: Sequence[int], **result: Any) -> str:
    """Describe the result of the "last" or "best" weights, of these epochs, beside that of the tested ones."""
    words = {"last": "at the end of training", "best": "with the lowest validation loss"}
    return f"{words[weights]} ({_epochs(epochs)}): {percent(result)}"


def measured(record: Mapping[str, Any]) -> str:
    """State in a sentence what a single net of a run got right, and whether that may be the majority-class baseline."""
    nets, baseline = len(record["replicas"]), record["baseline"]["test"]
    subject = "This net is" if nets == 1 else f"A single one of these {nets} nets is"
    sentence = f"{subject} right for {percent(record)} of {record['tested']:,} photos that it has never seen"
    guessing = f"not shown to be better than guessing: always naming one class is right for {100 * baseline:.1f} %"
    return f"{sentence}." if beats_baseline(record) else f"{sentence}, {guessing}."


def beats_baseline(record: Mapping[str, Any]) -> bool:
    """Return True if the interval of a run's test accuracy lies above the majority-class baseline."""
    found = record["test/acc_interval"] or min(one.get("test/acc_interval") or (0.0,) for one in record["replicas"])
    return bool(found[0] > record["baseline"]["test"])


def _epochs(epochs: Sequence[int]) -> str:
    first, last = min(epochs), max(epochs)
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"
