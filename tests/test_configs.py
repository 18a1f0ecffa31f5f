from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from catdog.classifier import CatDogClassifier
from catdog.data import CatDogDataModule
from catdog.errors import InputError
from conftest import ROOT

CONF = ROOT / "conf"
OPTIONS = [
    f"{group}={path.stem}" for group in ("data", "model", "trainer") for path in sorted((CONF / group).glob("*.yaml"))
]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def build(config: DictConfig, group: str, **arguments: Any) -> Any:
    return instantiate(config[group], **arguments, _convert_="all")


@pytest.mark.parametrize("option", OPTIONS)
def test_every_config_composes_and_builds(
    option: str, photo_root: Path, oxford_root: Path, microsoft_root: Path
) -> None:
    roots = {"data=folder": photo_root, "data=oxford_pets": oxford_root, "data=microsoft": microsoft_root}
    config = composed(option, *([f"data.root='{roots[option]}'"] if option in roots else []))
    data = build(config, "data")
    assert isinstance(data, CatDogDataModule)
    model = build(config, "model", image_size=data.image_size, class_names=data.class_names, seed=0)
    assert isinstance(model, CatDogClassifier)
    if option not in ("trainer=gpu", "trainer=mps"):  # this machine may have none
        assert isinstance(build(config, "trainer", logger=False), Trainer)


@pytest.mark.parametrize("study", sorted(path.stem for path in (CONF / "study").glob("*.yaml")))
def test_every_study_composes_as_a_multirun_in_its_own_folder(study: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"study={study}"], return_hydra_config=True)
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.hydra.sweep.dir == f"outputs/studies/{study}"
    assert config.hydra.sweeper.params


def test_the_exercise_is_the_default() -> None:
    config = OmegaConf.to_container(composed(), resolve=True)
    assert isinstance(config, dict)
    assert config["data"].pop("source")["_target_"] == "catdog.data.DrawnSource"
    assert config["data"] == {
        "_target_": "catdog.data.CatDogDataModule",
        "root": None,
        "image_size": 128,
        "batch_size": 32,
        "split_seed": 0,
        "fold": 0,
        "shuffle_seed": 0,
        "augment": False,
        "steps_per_execution": 50,
        "device_cache": "auto",
        "local_shuffle": "auto",
        "max_unreadable": 0.01,
        "sought_difference": 0.15,
        "cache_dir": "outputs/cache",
    }
    assert config["trainer"]["max_epochs"] == 10
    assert (config["model"]["lr"], config["model"]["replicas"]) == (0.01, 1)
    widths = {name: composed(f"model={name}").model.hidden for name in ("logistic", "shallow", "deep")}
    assert widths == {"logistic": [], "shallow": [4], "deep": [5, 5, 3]}


def test_a_recipe_sets_its_data_and_epochs_and_the_command_line_has_the_last_word() -> None:
    config = composed("model=whitened", "trainer=cpu", "data=folder")
    assert (config.data.image_size, config.data.augment, config.trainer.max_epochs) == (32, True, 200)
    assert (config.trainer.accelerator, config.data.source._target_) == ("cpu", "catdog.data.FolderSource")
    assert (config.model.hidden, config.test_weights) == ([512], "last")
    config = composed("model=whitened", "trainer.max_epochs=3", "data.image_size=16", "test_weights=best")
    assert (config.data.image_size, config.trainer.max_epochs, config.test_weights) == (16, 3, "best")


@pytest.mark.parametrize(
    "ingredient", [path.stem for path in sorted((CONF / "without").glob("*.yaml")) if path.stem != "nothing"]
)
def test_a_recipe_without_an_ingredient_differs_in_one_key(ingredient: str) -> None:
    whole, lacking = (composed("model=edges", f"without={name}") for name in ("nothing", ingredient))
    changed = [
        f"{group}.{key}" for group in ("data", "model", "trainer") for key in whole[group]
        if whole[group][key] != lacking[group][key]
    ]  # fmt: skip
    assert len(changed) == 1


def test_hidden_widths_reach_the_checkpoint_as_a_plain_list() -> None:
    model = build(composed("model.hidden=[64,32]"), "model", image_size=8, class_names=("a", "b"), seed=0)
    assert model.hparams["hidden"] == [64, 32]
    assert type(model.hparams["hidden"]) is list


def test_the_seed_orders_the_batches_but_does_not_split() -> None:
    config = composed("seed=7")
    assert (config.data.shuffle_seed, config.data.split_seed) == (7, 0)


@pytest.mark.parametrize("override", ["model.depth=3", "colour=red", "data.folder=photos"])
def test_unknown_keys_are_refused(override: str) -> None:
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        composed(override)


def test_a_folder_has_to_be_given_with_its_source_and_only_there() -> None:
    for overrides, sentence in (
        (["data=folder"], "data.root must be given: a folder with two class sub-folders"),
        (["data.root=photos"], "data.root=photos is for data=folder"),
    ):
        with pytest.raises(Exception, match=sentence) as caught:
            build(composed(*overrides), "data")
        assert isinstance(caught.value.__cause__, InputError)


@pytest.mark.parametrize("text", ["abc", "[0]", "[5,abc]", "4", "null", "[1.5]"])
def test_hidden_widths_from_the_command_line_are_checked(text: str) -> None:
    make = partial(build, composed(f"model.hidden={text}"), "model", image_size=8, class_names=("a", "b"), seed=0)
    with pytest.raises(Exception, match="model.hidden must be a list of whole numbers") as caught:
        make()
    assert isinstance(caught.value.__cause__, InputError)
