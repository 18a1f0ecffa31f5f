"""Train a network on cat and dog photos: `python train.py model=deep trainer.max_epochs=100`."""

import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

import hydra
from hydra._internal.instantiate import _instantiate2
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from catdog.errors import SIGNALS, InputError, InterruptedRunError, UnavailableError, told_in_a_sentence
from catdog.targets import check_arguments, check_class, check_config, check_namespace

logger = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float:
    """Train one network as the configuration says and return its validation accuracy, for sweeps to maximise.

    In a sweep, a run that fails leaves its traceback in its log and NaN here, and the others go on.
    """
    is_first_run = not gc.get_freeze_count()
    if is_first_run:  # signals wait for training.run, which can answer them
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    from catdog import record, training  # here, because PyTorch takes seconds that --help need not wait for

    if is_first_run:
        gc.freeze()  # what these imports made stays to the end, where Python would search it for a second
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    folder = Path(hydra_config.runtime.output_dir)
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    try:
        check_config(plain)
        if sweeping and config.trainer.devices != 1 and "SLURM_NTASKS" not in os.environ:
            # Lightning starts its other processes with this very command line: each would be the whole sweep again.
            raise InputError(f"trainer.devices must be 1 in a sweep, got {config.trainer.devices}")
        metrics = training.run(
            *(instantiate(config[group], _partial_=True, _convert_="all") for group in ("data", "model", "trainer")),
            folder=folder,
            config=plain,
            seed=config.seed,
            ckpt_path=config.ckpt_path,
            test_weights=config.test_weights,
        )
    except InterruptedRunError as error:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a second one would cost the record
        record.save_outcome(folder, plain, error)
        print(f"catdog: {error}", file=sys.stderr)
        sys.exit(128 + error.number)  # as a shell tells of signals; in a sweep, no other run is started
    except Exception as error:
        record.save_outcome(folder, plain, error)
        if not sweeping:
            if isinstance(error, InputError):
                sys.exit(f"catdog: {error}")
            raise
        if isinstance(error, UnavailableError):
            logger.info("skipped: %s", error)
        else:
            logger.exception("failed")
        return float("nan")
    return metrics["val/acc"]


def check_all_that_hydra_builds() -> None:
    """Have Hydra check every class that it is about to build an object of.

    It builds callbacks, sweeper and launcher before it calls `main`, also from configuration files that are not ours.
    """
    resolve = _instantiate2._resolve_target  # where all its ways lead through, and it has no hook
    others = ("hydra", "hydra_plugins", "optuna")

    def resolve_and_check(target: Any, full_key: str) -> Any:
        try:
            if isinstance(target, str):
                check_namespace(target, others)  # first, because to resolve is to import
            found = resolve(target, full_key)
            check_class(found, str(target), others)
        except InputError as error:
            sys.exit(f"catdog: {error}")  # else Hydra shows a traceback
        return found

    _instantiate2._resolve_target = resolve_and_check


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGUSR1):  # like Ctrl-C, so that a sweep takes its workers along
        signal.signal(number, signal.default_int_handler)
    with told_in_a_sentence():
        check_arguments(sys.argv[1:])
        check_all_that_hydra_builds()
        main()
