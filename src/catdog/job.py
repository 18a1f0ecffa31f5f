"""Hydra job: train the configured model, record failures, report on sweeps."""

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from catdog.cli import NO_DEVICE, REFUSED, explain, interpreter, near, silenced_libraries
from catdog.errors import InputError, OtherRunError, TooFewPhotosError, check_seed, check_whole_number, suggestion
from catdog.files import OUTCOME, read_json, write_atomically
from catdog.interruption import InterruptedRunError, Interruption
from catdog.names import describe, describe_weights, shown

logger = logging.getLogger(__name__)

KEYS = ("data", "model", "trainer", "callbacks", "logger", "seed", "test_weights", "ckpt_path", "primary", "threads")
GRID = "grid.json"  # what a study's runs in a folder come from: the grid and the command's variant of it
MAX_NAME = 120  # characters of a study's folder; file systems allow 255 bytes


def train(config: DictConfig) -> float | None:
    """Train the configured model; return its validation accuracy, or None if it failed in a sweep, which continues."""
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    folder = Path(hydra_config.runtime.output_dir)
    try:
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as unresolved:
        sys.exit(f"catdog: {explain(unresolved)}")
    try:
        with Interruption(folder) as interruption:
            _check(plain, sweeping)
            metrics = _run(plain, folder, interruption.callback())
        return metrics.get("val/acc") if metrics else None
    except InterruptedRunError as error:
        save_outcome(folder, plain, "interrupted", str(error))
        if _is_first_process():
            print(f"catdog: {error}", file=sys.stderr)
        sys.exit(128 + error.number)  # the shell's convention for signals; it also ends a sweep
    except Exception as error:
        impossible = isinstance(error, TooFewPhotosError) or re.search(NO_DEVICE, str(error))
        line, status = explain(error), "skipped" if impossible else "failed"
        if not isinstance(error, OtherRunError):
            save_outcome(folder, plain, status, line or f"{type(error).__name__}: {error}")
        if line and (not sweeping or isinstance(error, OtherRunError)):
            sys.exit(f"catdog: {line}")  # Hydra would report an exception a second time
        if not sweeping:
            raise
        logger.info("%s: %s", status, line or error, exc_info=None if status == "skipped" else error)
        return None


def _run(config: dict[str, Any], folder: Path, interruption: Any) -> dict[str, Any] | None:
    """Build data, model, callbacks and loggers, and train."""
    import torch  # here, because PyTorch takes seconds that --help need not wait for
    from lightning import seed_everything

    from catdog import training

    torch.set_num_threads(config["threads"])
    seed_everything(config["seed"], verbose=False)
    build = partial(instantiate, _convert_="all")
    data, model = build(config["data"]), build(config["model"])
    callbacks = [training.RunCheckpoint(), interruption]
    callbacks += [build(node) for node in (config["callbacks"] or {}).values()]
    loggers = [training.Dashboard(folder)]
    for node in (config["logger"] or {}).values():
        in_folder = {"save_dir": str(folder)} if node.get("save_dir", "") is None else {}
        loggers.append(build(node, **in_folder))
    with silenced_libraries():
        trainer = build(config["trainer"], _partial_=True)(callbacks=callbacks, logger=loggers, default_root_dir=folder)
        metrics = training.run(trainer, model, data, config, config["ckpt_path"], config["test_weights"])
    if metrics is None:
        if (read_json(folder / OUTCOME) or {}).get("config") == config:  # it had failed
            (folder / OUTCOME).unlink()
        logger.info("fast_dev_run: everything runs; no result is left")
    elif _is_first_process():
        _log_result(metrics, folder)
    return metrics


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _check(config: dict[str, Any], sweeping: bool) -> None:
    """Raise an InputError for settings that would be silently ignored or cannot work; remove `jobs`."""
    if config.pop("jobs", None) is not None and not sweeping:
        raise InputError("jobs is for several runs: -m with values to sweep over, or study=NAME")
    for key in config:
        if key not in KEYS:
            raise InputError(f"there is no key {key}{suggestion(key, KEYS)}")
    for key, instead in REFUSED.items():
        if key.removeprefix("trainer.") in config["trainer"]:
            raise InputError(f"{key} is set by catdog: {instead}")
    strategy, devices = str(config["trainer"].get("strategy")), config["trainer"].get("devices")
    if strategy.endswith(("_spawn", "_fork", "_notebook")):
        raise InputError(f"trainer.strategy={strategy} loses what its processes collect; strategy=ddp does not")
    if sweeping and devices != 1 and "SLURM_NTASKS" not in os.environ:
        # Lightning starts its other processes with this command line: each would run the whole sweep again.
        raise InputError(f"trainer.devices must be 1 in a sweep, got {devices}")
    for key, least in (("max_epochs", -1), ("max_steps", -1), ("accumulate_grad_batches", 1)):
        if config["trainer"].get(key) is not None:
            check_whole_number(f"trainer.{key}", config["trainer"][key], least=least)
    check_whole_number("threads", config["threads"], least=1)
    check_seed("seed", config["seed"])


def _log_result(metrics: dict[str, Any], folder: Path) -> None:
    """Log the result, its files and the next commands."""
    if dead := sum(replica.get("val/dead", 0) > 0 for replica in metrics["replicas"]):
        how_many = f"{dead} of {len(metrics['replicas'])} nets dead"
        logger.warning("%s: one output for all validation photos; try another seed or wider layers", how_many)
    from catdog.inference.runs import LATEST, finished_runs  # here, as it imports PyTorch

    single = HydraConfig.get().mode == RunMode.RUN  # in a sweep, others will be newer
    run = LATEST if single and [path.absolute() for path in finished_runs()[:1]] == [folder] else near(folder)
    others = (f"  {describe_weights(**other)}\n" for other in metrics["other_weights"])
    logger.info(
        f"{describe(metrics)}\n{''.join(others)}"
        f"  always naming {shown(metrics['majority'])} would be right for {100 * metrics['baseline']['test']:.1f} %\n"
        f"  see  {near(folder / 'curves.png')}\n"
        f"  try  {interpreter()} {near(Path(sys.argv[0]).with_name('scripts'))}/predict.py {run} PHOTO"
    )


def save_outcome(folder: Path, config: dict[str, Any], status: str, reason: str) -> None:
    """Write `outcome.json` for a run without a result: "skipped", "interrupted" or "failed", with the reason."""
    if not _is_first_process():
        return  # the others fail as a consequence, with uninformative errors
    outcome = {"status": status, "reason": reason, "accelerator": config["trainer"]["accelerator"], "config": config}
    with suppress(OSError):  # the disk may be full, which the error that ended the run says
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / OUTCOME, json.dumps(outcome, indent=2, default=str))


def name_variant(overrides: Sequence[str]) -> str:
    """Name a study's folder after the command's overrides, so that different photos or settings never share one.

    ["study=widths", "data=folder", "data.root=PATH", "model.replicas=4"] gives "NAME_model.replicas=4-HASH": the name
    of the photos' folder, and a hash of its path and the rest; without a path, only if the name lacks something.
    """
    values = {key: value for key, _, value in (override.partition("=") for override in sorted(overrides))}
    data, root = values.pop("data", "drawn"), values.pop("data.root", "").strip("'").replace(r"\'", "'")
    folder = root and str(Path(root).resolve())
    rest = [f"{key}={value}" for key, value in values.items() if key not in ("study", "jobs", "data.cache_dir")]
    whole = "_".join([data.removeprefix("folder") + Path(folder).name, *rest])
    name = re.sub(r"[^\w.,=+-]", "", whole)[:MAX_NAME]
    digest = hashlib.sha256("\0".join([folder, whole]).encode(errors="surrogateescape")).hexdigest()
    return name if name == whole and not folder else f"{name}-{digest[:6]}"


def short_name(overrides: str) -> str:
    """Shorten a job's overrides to a folder's name: "fold-0_model-deep_epochs-100", as the dashboard shows it."""
    return re.sub(r"(^|_)(data|model|trainer)\.(max_)?", r"\1", overrides)


OmegaConf.register_new_resolver("short_name", short_name, replace=True)
OmegaConf.register_new_resolver("name_variant", name_variant, replace=True, use_cache=True)  # jobs keep the sweep's


class ReportCallback(Callback):
    """Hydra callback that compares all runs at the end of a multirun; it exits with failure if one has failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a sweep over a key that is not in the jobs' folder names, and a study in the folder of another one."""
        if config.get("jobs") is not None and "jobs" not in config.hydra.launcher:
            sys.exit("catdog: jobs is for hydra/launcher=processes; another launcher has options of its own")
        unnamed = config.hydra.job.config.override_dirname.exclude_keys
        for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task)):
            if override.is_sweep_override() and override.key_or_group in unnamed:
                sys.exit(  # Hydra turns other exceptions into warnings
                    f"catdog: a sweep over {override.key_or_group} would put several jobs into one folder; give one "
                    "value at a time, each with its own hydra.sweep.dir=FOLDER"
                )
        if not config.hydra.runtime.choices.get("study"):
            return
        path = Path(config.hydra.sweep.dir) / GRID
        parameters = OmegaConf.to_container(config.hydra.sweeper.params)
        grid = {"grid": parameters, "variant": name_variant(config.hydra.overrides.task)}
        if (read_json(path) or grid) != grid:
            advice = "move it away, or give the study another folder with hydra.sweep.dir=FOLDER"
            sys.exit(f"catdog: '{path.parent}' holds runs of another grid, see {GRID} there: {advice}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(grid, indent=2))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report into the sweep's folder."""
        from catdog.study import report  # here, so that plain runs and --help need not wait for pandas

        folder = Path(config.hydra.sweep.dir)
        if config.trainer.fast_dev_run and not any(folder.rglob(OUTCOME)):
            return  # it leaves no records but those of failures
        try:
            comparison = report.compare([folder])
            comparison.save(folder)
        except Exception as error:  # of which Hydra would make a warning
            sys.exit(f"catdog: no report of '{folder}': {explain(error) or repr(error)}")
        print(f"\n{comparison.summary()}\nwhole table, all comparisons, figure:\n{folder / 'comparison.md'}")
        if failed := sum(row["runs"] for row in comparison.rows if row["status"].startswith("failed")):
            sys.exit(f"catdog: {failed} runs failed; the table says which, and why")
