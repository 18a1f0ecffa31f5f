"""Train a network on cat and dog photos: `python train.py model=deep trainer.max_epochs=100`."""

import sys
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from catdog.errors import InputError


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train one network as the configuration says and return its validation accuracy, for sweeps to maximise."""
    try:
        from catdog import (
            training,
        )  # here, because PyTorch takes seconds that --help and typing errors need not wait for

        metrics = training.run(
            *(instantiate(config[group], _partial_=True, _convert_="all") for group in ("data", "model", "trainer")),
            folder=Path(HydraConfig.get().runtime.output_dir),
            seed=config.seed,
            ckpt_path=config.ckpt_path,
            test_weights=config.test_weights,
            config=cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
        )
    except InputError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # SystemExit would end the sweep
            raise
        sys.exit(f"catdog: {error}")
    return metrics["val/acc"]


if __name__ == "__main__":
    main()
