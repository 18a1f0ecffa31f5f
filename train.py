"""Train a network on cat and dog photos: `python train.py model=deep trainer.max_epochs=100`."""

import hydra
from omegaconf import DictConfig

from catdog import cli, job


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """Train one network as the configuration says; return its validation accuracy, which searches maximize."""
    return job.train(config)


if __name__ == "__main__":
    with cli.one_line_errors():
        main()
