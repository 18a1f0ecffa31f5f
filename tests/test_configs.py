import inspect
import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from packaging.requirements import Requirement

import catdog.job
from catdog import CatDogClassifier, CatDogDataModule
from catdog.cli import REFUSED
from conftest import ROOT

CONF = ROOT / "conf"
GROUPS = ("data", "model", "trainer", "callbacks", "logger", "experiment")
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
PARTS = ("data=base", "logger=wandb", "logger=mlflow")  # a part of others; what needs packages that are not here


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def build(config: DictConfig, group: str, **arguments: Any) -> Any:
    return instantiate(config[group], **arguments, _convert_="all")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in PARTS])
def test_every_config_composes_and_builds(
    option: str, photo_root: Path, oxford_root: Path, microsoft_root: Path, tmp_path: Path
) -> None:
    roots = {"data=folder": photo_root, "data=oxford_pets": oxford_root, "data=microsoft": microsoft_root}
    config = composed(option, *([f"data.root='{roots[option]}'"] if option in roots else []))
    assert isinstance(build(config, "data"), CatDogDataModule)
    assert isinstance(build(config, "model"), CatDogClassifier)
    for callback in config.callbacks.values() if option != "callbacks=rich_progress_bar" else ():
        assert isinstance(instantiate(callback), Callback)
    for logger in config.logger.values():
        assert isinstance(instantiate(logger, save_dir=tmp_path), Logger)
    if option not in ("trainer=gpu", "trainer=mps"):  # this machine may have none
        assert isinstance(build(config, "trainer", logger=False), Trainer)


def test_yaml_and_signatures_have_the_same_defaults() -> None:
    """But for what the configuration decides: the photos' source, the hidden widths, the trainer's reasons."""
    config: Any = OmegaConf.to_container(composed("data=folder"), resolve=True)
    for group, function, own in (
        ("data", CatDogDataModule.__init__, {"source"}),
        ("model", CatDogClassifier.__init__, {"hidden"}),
        ("trainer", Trainer.__init__, {"devices", "max_epochs", "num_sanity_val_steps"}),
    ):
        written = {key: value for key, value in config[group].items() if key not in own | {"_target_"}}
        parameters = inspect.signature(function).parameters.values()
        meant = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in own}
        if group == "model":
            assert meant.pop("class_names") == ("cats", "dogs")  # the data module has them
        if group == "trainer":
            assert not {meant.pop(key.removeprefix("trainer.")) for key in REFUSED} - {None}
            assert not any(written.pop(key) for key in ("enable_progress_bar", "enable_model_summary"))
            meant = {key: meant[key] for key in meant if key not in ("enable_progress_bar", "enable_model_summary")}
        assert written == meant


@pytest.mark.parametrize("study", sorted(path.stem for path in (CONF / "study").glob("*.yaml")))
def test_every_study_composes_as_a_multirun_in_its_own_folder(study: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"study={study}"], return_hydra_config=True)
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.hydra.sweep.dir == f"outputs/studies/{study}/drawn"
    assert config.hydra.sweeper.params


VALUES = st.text('abc123/[],=.é ("', max_size=8)


@given(*[st.dictionaries(st.sampled_from(["seed", "data.root", "model.hidden", "trainer"]), VALUES)] * 2)
def test_a_study_of_other_photos_or_settings_has_another_folder(one: dict[str, str], other: dict[str, str]) -> None:
    names = [
        catdog.job.name_variant(["study=s", *(f"{key}={value}" for key, value in command.items())])
        for command in (one, other)
    ]
    roots = [((root := command.get("data.root")) and str(Path(root).resolve())) or "" for command in (one, other)]
    assert (names[0] == names[1]) == (one | {"data.root": roots[0]} == other | {"data.root": roots[1]})
    assert all(re.fullmatch(r"[\w.,=+-]{1,128}", name) for name in names)
    folder = catdog.job.name_variant(["data=folder", "data.root=a/b", "seed=1"])
    assert folder.startswith("b_seed=1-")
    assert folder == catdog.job.name_variant(["data=folder", "data.root='a/b/'", "seed=1"])  # as train.py quotes it


def test_the_exercise_is_the_default_and_the_seed_orders_the_batches_but_does_not_split() -> None:
    config = composed("seed=7")
    assert (config.model.seed, config.data.shuffle_seed, config.data.split_seed) == (7, 7, 0)
    assert config.data.source._target_ == "catdog.data.SyntheticSource"
    assert (config.data.image_size, config.data.batch_size, config.trainer.max_epochs) == (128, 32, 10)
    assert (config.model.lr, config.model.optimizer, config.model.replicas) == (0.01, "SGD", 1)
    widths = {name: composed(f"model={name}").model.hidden for name in ("logistic", "shallow", "deep")}
    assert widths == {"logistic": [], "shallow": [4], "deep": [5, 5, 3]}


def test_an_experiment_sets_net_data_and_epochs_and_the_command_line_has_the_last_word() -> None:
    assert [composed("experiment=hog", *net).model.hidden for net in ((), ["model=deep"])] == [[512], [5, 5, 3]]
    config = composed("experiment=whitened", "trainer=cpu", "data=folder", "trainer.max_epochs=3")
    assert (config.data.image_size, config.data.augment, config.trainer.max_epochs) == (32, True, 3)
    assert (config.trainer.accelerator, config.data.source._target_) == ("cpu", "catdog.data.FolderSource")
    assert (config.model.hidden, config.model.image_size, config.test_weights) == ([512], 32, "last")


def test_known_bad_releases_are_excluded() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    bad = {
        "lightning": ["2.6.2", "2.6.3"],  # compromised releases
        "torch": ["2.13.0"],  # resolves to a build that torchvision cannot be imported with
        "filelock": ["3.20.0", "3.20.2"],  # CVE-2025-68146, CVE-2026-22701
        "pillow": ["12.1.0", "12.2.0"],  # CVE-2026-25990, PYSEC-2026-2253 to 2257
    }
    for requirement in map(Requirement, lines):
        assert not set(requirement.specifier.filter(bad.get(requirement.name, []))), requirement
