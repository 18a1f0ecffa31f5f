from pathlib import Path
from typing import Any

import pytest

from catdog.errors import InputError
from catdog.targets import check_arguments, check_config
from test_command import command


@pytest.mark.parametrize(
    "name",
    [
        "catdog.classifier.CatDogClassifier", "catdog.data.DrawnSource", "lightning.Trainer", "torch.optim.AdamW",
        "torch.nn.ReLU", "torchmetrics.MeanMetric",
    ],
)  # fmt: skip
def test_classes_of_ours_and_of_the_three_libraries_may_be_built(name: str) -> None:
    check_config({"data": [{"source": {"_target_": name}}]})
    check_arguments([f"model._target_={name}", f"+a={{b: {{_target_: {name}, lr: 1}}}}"])


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "builtins.eval", "subprocess.Popen", "torchx.Thing", "catdogs.Thing", "lightning_evil.Thing",
        "torch.os.system", "catdog.data.pixels.os.remove", "torch.hub.load", "torch.load", "torch", "torch.no.such",
        "torch.multiprocessing.Process", "torch..os", "",
    ],
)  # fmt: skip
def test_nothing_else_may_be_built(name: str) -> None:
    with pytest.raises(InputError, match="_target_"):
        check_config({"model": {"deep": [{"_target_": name}]}})


@pytest.mark.parametrize(
    "argument",
    [
        "model._target_=os.system", "+hydra.callbacks.x._target_=os.system", "+x={_target_: os.system, command: ls}",
        "+x={'_target_':'os.system'}", "model._target_=torch.nn.ReLU,os.system", "hydra.launcher._target_ = os.system",
    ],
)  # fmt: skip
def test_the_command_line_cannot_name_another(argument: str) -> None:
    with pytest.raises(InputError, match="_target_ must be a class of .*, got os.system"):
        check_arguments([argument])


def test_other_arguments_may_say_anything() -> None:
    check_arguments(["data.root=_target_", "seed=1", "data.root=/photos/os.system"])
    config: dict[str, Any] = {"a": "os.system", "b": ["x", {"c": None}]}
    check_config(config)


@pytest.mark.parametrize(
    "arguments",
    [
        ("+hydra.callbacks.harm={_target_: pathlib.Path.cwd}",),
        ("+hydra.callbacks.harm={_target_: catdog.sweep.Path.cwd}",),
        ("+harm=t", "+hydra.callbacks.harm='${oc.decode:\"{_targe${harm}_: pathlib.Path.cwd}\"}'"),
        ("study=harm", "--config-dir=."),
        ("+hydra.launcher.harm={_target_: catdog.sweep.Path.cwd}", "-m"),
    ],
)
def test_the_command_runs_nothing_that_hydra_would_build_before_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file = tmp_path / "study/harm.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\nhydra: {callbacks: {harm: {_target_: pathlib.Path.cwd}}}")
    done = command(tmp_path, "trainer=smoke", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("catdog: _target_")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "outputs/runs").exists()


def test_no_foreign_module_is_imported_to_look_at_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign.py").write_text("open('harm', 'w')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "study/harm.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\nhydra: {callbacks: {harm: {_target_: foreign.Thing}}}")
    done = command(tmp_path, "trainer=smoke", "study=harm", "--config-dir=.")
    assert done.returncode == 1
    assert done.stderr.startswith("catdog: _target_ must be a class of")
    assert not (tmp_path / "harm").exists()
