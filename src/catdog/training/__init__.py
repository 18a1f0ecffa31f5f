"""A run: training, testing, checkpoints and the record."""

from catdog.training.callbacks import RunCheckpoint as RunCheckpoint
from catdog.training.run import run as run
