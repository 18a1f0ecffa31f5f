"""Train a network on cat and dog photos: `python train.py model=deep trainer.max_epochs=100`."""

import os
import sys

import hydra
from omegaconf import DictConfig

from catdog import cli, job

PATHS = ("data.root", "data.cache_dir", "ckpt_path", "hydra.run.dir", "hydra.sweep.dir")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """Train one network from the configuration; return its validation accuracy, the objective of a search."""
    return job.train(config)


def quoted(argument: str) -> str:
    """Quote a path for Hydra, whose grammar allows no letters beyond ASCII, and no comma or quote, without quotes."""
    key, _, typed = argument.partition("=")
    path = os.path.expanduser(typed)
    plain = path == typed and path.isascii() and not os.path.exists(path)
    if key not in PATHS or plain or typed[:1] in ("'", '"'):
        return argument
    return "{}='{}'".format(key, path.replace("'", r"\'"))


if __name__ == "__main__":
    sys.argv = [quoted(argument) for argument in sys.argv]
    with cli.one_line_errors():
        main()
