"""Training and testing of one run, its checkpoints and its record."""

from catdog.training.callbacks import RunCheckpoint as RunCheckpoint
from catdog.training.dashboard import Dashboard as Dashboard
from catdog.training.run import run as run
