import itertools
import math
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy
from torchvision.transforms.v2.functional import ten_crop

from catdog import CatDogClassifier, CatDogDataModule
from catdog.errors import InputError
from catdog.model.metrics import mean_logits
from conftest import RECIPE, MakeData, Train, make_classifier

pytestmark = pytest.mark.usefixtures("blank_curves")


def plain_training(data: CatDogDataModule, hidden: list[int], epochs: int) -> list[dict[str, float]]:
    """The history of the exercise in plain PyTorch: sigmoid, BCELoss, SGD."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise([3 * data.image_size**2, *hidden, 1]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers[:-1], nn.Sigmoid(), nn.Flatten(0))
    optimizer, bce = torch.optim.SGD(net.parameters(), lr=0.01), nn.BCELoss()
    history = []
    for epoch in range(epochs):
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(epoch))
        row: dict[str, float] = {}
        for split, positions in (("train", order), ("val", torch.arange(len(data.val)))):
            mean_loss, accuracy = MeanMetric(), BinaryAccuracy()
            for batch in positions.split(data.batch_size):
                rows = getattr(data, split).rows[batch]
                probabilities, labels = net(data.store.pixels[rows] / 127.5 - 1), data.store.labels[rows]
                loss = bce(probabilities, labels)
                if split == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                mean_loss.update(loss.detach(), len(batch))
                accuracy.update(probabilities.detach(), labels.int())
            row |= {f"{split}/loss": mean_loss.compute().item(), f"{split}/acc": accuracy.compute().item()}
        history.append(row)
    return history


@pytest.mark.parametrize(("hidden", "real"), [([], False), ([4], False), ([5, 5, 3], False), ([5, 5, 3], True)])
def test_losses_equal_those_of_plain_pytorch(train: Train, make_data: MakeData, hidden: list[int], real: bool) -> None:
    photos: dict[str, Any] = {"batch_size": 24}  # the last batch is smaller
    if real:
        photos = {"root": os.environ.get("CATDOG_PHOTOS"), "image_size": 128, "batch_size": 32}
        if not photos["root"]:
            pytest.skip("CATDOG_PHOTOS names no folder of real photos")
    history = train(model={"hidden": hidden}, data=photos, trainer={"max_epochs": 3})["history"]
    data = make_data(**photos)
    data.setup()
    for row, plain in zip(history, plain_training(data, hidden, epochs=3), strict=True):
        assert {name: row[name] for name in plain} == pytest.approx(plain, abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
def test_an_ordinary_loader_and_trainer_train_it_and_load_it_again(tmp_path: Path) -> None:
    """As in any Lightning project: callbacks that monitor, a logger, prediction, a checkpoint."""
    images = torch.randn(64, 3, 8, 8)
    photos = TensorDataset(images, (images.mean((1, 2, 3)) > 0).float())
    loader = DataLoader(photos, batch_size=16)
    best = ModelCheckpoint(tmp_path / "best", monitor="val/loss")
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, default_root_dir=tmp_path, log_every_n_steps=1, enable_model_summary=False,
        callbacks=[best, EarlyStopping("val/loss"), LearningRateMonitor()], logger=CSVLogger(tmp_path),
    )  # fmt: skip
    model = make_classifier(hidden=[4], whitening=8, lr=0.1, optimizer="Adam", schedule="cosine")
    trainer.fit(model, DataLoader(photos, batch_size=16, shuffle=True), loader)
    (tested,) = trainer.test(model, loader)
    predicted: Any = trainer.predict(model, loader)
    logged = pd.read_csv(tmp_path / "lightning_logs/version_0/metrics.csv")
    assert {"val/loss", "train/acc", "lr-Adam"} <= set(logged)
    loaded = CatDogClassifier.load_from_checkpoint(best.best_model_path, weights_only=True).eval()
    torch.testing.assert_close(loaded(images).sigmoid(), torch.cat(predicted))
    assert tested["test/acc"] == ((loaded(images) > 0) == (photos.tensors[1] > 0.5)).float().mean()
    stop = LambdaCallback(on_test_batch_end=Mock(side_effect=RuntimeError("stop")))
    other = Trainer(accelerator="cpu", max_epochs=1, logger=False, default_root_dir=tmp_path, callbacks=[stop])
    with pytest.raises(RuntimeError, match="stop"):
        other.test(model, loader)
    assert trainer.test(model, loader) == [tested]  # what was interrupted is forgotten
    other.fit(model.train(), loader, loader)


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({"max_epochs": 3}, 30),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"max_epochs": 3, "limit_train_batches": 4}, 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, 15),
    ],
)
def test_the_cosine_ends_at_the_last_step(train: Train, trainer: dict[str, Any], steps: int) -> None:
    rates: list[float] = []
    look = LambdaCallback(on_before_optimizer_step=lambda *seen: rates.append(seen[2].param_groups[0]["lr"]))
    train(model={"schedule": "cosine", "lr": 0.1}, trainer=trainer, callbacks=[look])
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)])


@pytest.mark.parametrize(("name", "decay"), [("SGD", 0.5), ("RMSprop", 0.0)])
def test_an_optimizer_of_pytorch_is_built_by_its_name(name: str, decay: float) -> None:
    optimizer = make_classifier(optimizer=name, lr=0.1, weight_decay=decay).configure_optimizers()
    group = optimizer.param_groups[0]
    assert (type(optimizer).__name__, group["lr"], group["weight_decay"]) == (name, 0.1, decay)


@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("hidden", ([0], [5, -1], "abc", ["abc"], [2.5], [True], 4, None), "a list of whole numbers of at least 1,"),
        ("lr", (0, -1, math.nan, math.inf, "abc"), "a number above 0"),
        ("optimizer", ("adamW",), "ASGD, .*; did you mean AdamW"),
        ("schedule", (None, ["cosine"]), "constant or cosine"),
        ("test_time_augmentation", ("yes", 1), "true or false"),
        ("weight_decay", (-1, math.nan, True), "a number at least 0"),
        ("whitening", (-1, 2.5, 193), "a whole number of at least 0(, at most 192)?"),
        ("hog", (33,), "a whole number of at least 0, at most 32"),
        ("replicas", (0, 1.5, True), "a whole number of at least 1"),
    ],
)
def test_options_without_sense_are_refused(key: str, values: tuple[Any, ...], allowed: str) -> None:
    for value in values:
        with pytest.raises(InputError, match=f"^model.{key} must be {allowed}"):
            make_classifier(**{key: value})


def test_validation_looks_once_and_the_test_averages_the_probabilities_of_ten_crops(
    train: Train, make_data: MakeData, tmp_path: Path
) -> None:
    """With lr tiny, the weights stay put."""
    options = {"hidden": [4], "replicas": 2, "test_time_augmentation": True, "lr": 1e-30}
    record = train(model=options, trainer={"max_epochs": 1})
    model, data = make_classifier(hidden=[4], replicas=2, image_size=16), make_data()
    data.setup()
    images = {split: data.store.pixels[getattr(data, split).rows] / 127.5 - 1 for split in ("val", "test")}
    losses = [nn.BCEWithLogitsLoss()(logits, data.val.labels).item() for logits in model(images["val"])]
    assert [replica["val/loss"] for replica in record["replicas"]] == pytest.approx(losses, abs=1e-6)
    found = pd.read_csv(tmp_path / "run/predictions.csv")["probability"].to_numpy()
    views = [functional.interpolate(crop, (16, 16), mode="bilinear") for crop in ten_crop(images["test"], [14, 14])]
    expected = torch.stack([model(view).sigmoid() for view in views]).mean(0)
    np.testing.assert_allclose(found, expected.detach().numpy().ravel(), atol=1e-6)


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=5))
def test_the_mean_logit_is_that_of_the_mean_probability(logits: list[float]) -> None:
    values = torch.tensor(logits, dtype=torch.float64)
    torch.testing.assert_close(mean_logits(values, 0).sigmoid(), values.sigmoid().mean(), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(mean_logits(values, 0), -mean_logits(-values, 0))


@pytest.mark.parametrize(("hidden", "lr", "options"), [([5, 5, 3], 0.1, {}), ([], 0.001, RECIPE)])
def test_every_replica_learns_what_it_would_alone(
    train: Train, tmp_path: Path, hidden: list[int], lr: float, options: dict[str, Any]
) -> None:
    """As a run of its own, with its own seed and the same batches, also with its own best epoch."""
    arguments: dict[str, Any] = {"data": {"augment": bool(options)}, "trainer": {"max_epochs": 6}}
    net = {"hidden": hidden, "lr": lr, **options}
    together = train("together", model=net | {"replicas": 2, "seed": 5}, **arguments)
    weights = torch.load(tmp_path / "together/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for number, replica in enumerate(together["replicas"]):
        alone = train(f"alone{number}", model=net | {"seed": 5 + number}, **arguments)["replicas"][0]
        own = torch.load(tmp_path / f"alone{number}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in own.keys() & {name for name in weights if "whitening" not in name}:
            torch.testing.assert_close(weights[name][number], own[name][0], atol=1e-5, rtol=1e-4)
        for one, other in zip(replica.pop("history"), alone.pop("history"), strict=True):
            assert one == pytest.approx(other | {"seconds": one["seconds"]}, abs=1e-4)
        assert replica.pop("test/acc_interval") == pytest.approx(alone.pop("test/acc_interval"))
        assert replica == pytest.approx(alone, abs=1e-4)  # seed, tested epoch, and metrics of validation and test


def test_a_dead_replica_is_counted_and_the_others_learn(train: Train) -> None:
    def kill_second(trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            nn.init.constant_(pl_module.network.layers[0].bias[1], -1e6)

    kill = LambdaCallback(on_train_epoch_start=kill_second)
    record = train(model={"hidden": [5], "replicas": 3}, trainer={"max_epochs": 3}, callbacks=[kill])
    dead = [[epoch["val/dead"] for epoch in replica["history"]] for replica in record["replicas"]]
    assert dead == [[0, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_probabilities_of_16_bits_are_on_the_side_of_their_logits() -> None:
    net = make_classifier().bfloat16()
    for parameter, value in zip(net.network.parameters(), (0.0, 1e-3), strict=True):
        parameter.data.fill_(value)
    assert (net.predict_step(torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16), 0) > 0.5).all()
