"""Train a network on cat and dog photos: `python train.py model=deep trainer.max_epochs=100`."""

import hydra
from omegaconf import DictConfig

from catdog import cli, job


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """Train one network from the configuration; return its validation accuracy, the objective of a search."""
    return job.train(config)


if __name__ == "__main__":
    with cli.one_line_errors():
        main()
