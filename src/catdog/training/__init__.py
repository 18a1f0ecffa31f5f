"""A run: training, testing, checkpoints and the record."""

from catdog.training.run import run

__all__ = ["run"]
