"""A trained network on labelled photos: what it gets right, how sure it is of it, and where it fails."""

from catdog.evaluation.result import Evaluation, places

__all__ = ["Evaluation", "places"]
