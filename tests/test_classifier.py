import itertools
import logging
import math
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryF1Score

from catdog import CatDogClassifier, CatDogDataModule
from catdog.errors import InputError
from catdog.model import classifier
from catdog.model.metrics import build_metrics, cross_entropy, mean_logits
from conftest import RECIPE, MakeData, Train, make_classifier


class StepLosses(Callback):
    """Collects the loss of every training step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        self.losses.append(loss.item())


def plain_training(data: CatDogDataModule, hidden: list[int], epochs: int) -> tuple[list[float], list[float]]:
    """Step losses and validation accuracies of the exercise in plain PyTorch: sigmoid, BCELoss, SGD."""
    torch.manual_seed(0)
    widths = [3 * data.image_size**2, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Sigmoid())
    optimizer, bce = torch.optim.SGD(net.parameters(), lr=0.01), nn.BCELoss()
    losses, accuracies = [], []
    for epoch in range(epochs):
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(epoch))
        for positions in order.split(data.batch_size):
            rows = data.train.rows[positions]
            loss = bce(net(data.store.pixels[rows] / 127.5 - 1).squeeze(1), data.store.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        probabilities = net(data.store.pixels[data.val.rows] / 127.5 - 1).squeeze(1)
        accuracies.append(((probabilities > 0.5) == (data.val.labels > 0.5)).float().mean().item())
    return losses, accuracies


def assert_parity(train: Train, data: CatDogDataModule, hidden: list[int], **photos: Any) -> None:
    steps = StepLosses()
    record = train(model={"hidden": hidden}, data=photos, trainer={"max_epochs": 3}, callbacks=[steps])
    data.setup()
    losses, accuracies = plain_training(data, hidden, epochs=3)
    assert steps.losses == pytest.approx(losses, abs=1e-5)
    assert [epoch["val/acc"] for epoch in record["history"]] == pytest.approx(accuracies)


@pytest.mark.parametrize("hidden", [[], [4], [5, 5, 3]])
def test_losses_equal_those_of_a_plain_pytorch_loop(train: Train, make_data: MakeData, hidden: list[int]) -> None:
    assert_parity(train, make_data(), hidden)


def test_losses_equal_those_of_a_plain_pytorch_loop_on_real_photos(
    train: Train, make_data: MakeData, real_photos: Path
) -> None:
    photos = {"root": real_photos, "image_size": 128, "batch_size": 32}
    assert_parity(train, make_data(**photos), [5, 5, 3], **photos)


def test_logged_metrics_are_means_over_photos(train: Train, make_data: MakeData) -> None:
    """With lr tiny, the weights stay put, so that an epoch's metrics are those of the initial weights."""
    record = train(model={"lr": 1e-30}, data={"batch_size": 32}, trainer={"max_epochs": 1})
    model = make_classifier(hidden=[5, 5, 3], image_size=16)
    data = make_data()
    data.setup()
    for split in ("train", "val"):
        photos = getattr(data, split)
        pixels, labels = data.store.pixels[photos.rows], photos.labels
        probabilities = model(pixels / 127.5 - 1).sigmoid()
        assert record["history"][0][f"{split}/loss"] == pytest.approx(
            nn.BCELoss()(probabilities, labels).item(), abs=1e-6
        )
        accuracy = ((probabilities > 0.5) == (labels > 0.5)).float().mean().item()
        assert record["history"][0][f"{split}/acc"] == pytest.approx(accuracy)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_metric_that_is_added_reaches_history_record_and_dashboard(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    both = build_metrics()
    both.add_metrics({"f1": BinaryF1Score()})
    monkeypatch.setattr(classifier, "build_metrics", lambda: both)
    record = train(model={"replicas": replicas})
    assert record["test/f1"] == pytest.approx(np.mean([own["test/f1"] for own in record["replicas"]]))
    assert all({"train/f1", "val/f1"} <= row.keys() for row in record["history"])
    accumulator = EventAccumulator(str(tmp_path / "run"))
    accumulator.Reload()
    assert {"train/f1", "val/f1"} <= set(accumulator.Tags()["scalars"])


def test_an_ordinary_loader_and_trainer_train_it_and_load_it_again(tmp_path: Path) -> None:
    """As in any Lightning project: callbacks that monitor, a logger, prediction, a checkpoint."""
    images = torch.randn(64, 3, 8, 8)
    photos = TensorDataset(images, (images.mean((1, 2, 3)) > 0).float())
    loader = DataLoader(photos, batch_size=16, shuffle=True)
    best = ModelCheckpoint(tmp_path / "best", monitor="val/loss")
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, default_root_dir=tmp_path, log_every_n_steps=1, enable_model_summary=False,
        callbacks=[best, EarlyStopping("val/loss"), LearningRateMonitor(), TQDMProgressBar()],
        logger=CSVLogger(tmp_path),
    )  # fmt: skip
    model = make_classifier(hidden=[4], whitening=8, lr=0.1, optimizer="Adam", schedule="cosine")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        trainer.fit(model, loader, DataLoader(photos, batch_size=16))
        (tested,) = trainer.test(model, DataLoader(photos, batch_size=16))
        predicted: Any = trainer.predict(model, DataLoader(photos, batch_size=16))
    logged = pd.read_csv(tmp_path / "lightning_logs/version_0/metrics.csv")
    assert {"val/loss", "train/acc", "lr-Adam"} <= set(logged)
    assert [batch.shape for batch in predicted] == [(16,)] * 4
    loaded = CatDogClassifier.load_from_checkpoint(best.best_model_path, weights_only=True).eval()
    torch.testing.assert_close(loaded(images).sigmoid(), torch.cat(predicted))
    assert tested["test/acc"] == ((loaded(images) > 0) == (photos.tensors[1] > 0.5)).float().mean()


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
    class Rates(Callback):
        rates: ClassVar[list[float]] = []

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.rates.append(optimizer.param_groups[0]["lr"])

    Rates.rates.clear()
    train(model={"schedule": "cosine", "lr": 0.1}, trainer=trainer, callbacks=[Rates()], test_weights="last")
    assert Rates.rates == pytest.approx([0.05 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)])


def test_a_cosine_without_end_is_refused(train: Train) -> None:
    with pytest.raises(InputError, match=r"model.schedule=cosine needs an end: set trainer.max_epochs or"):
        train(model={"schedule": "cosine"}, trainer={"max_epochs": -1})


class Kill(Callback):
    """Makes hidden layer 2 dead at the start of the second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            nn.init.constant_(pl_module.network.layers[1].bias, -1e6)


def test_a_dead_layer_is_recorded(train: Train) -> None:
    record = train(trainer={"max_epochs": 4}, callbacks=[Kill()])
    assert [epoch["val/dead"] for epoch in record["history"]] == [0, 1, 1, 1]


def test_a_checkpoint_alone_gives_the_same_network(train: Train, tmp_path: Path, make_data: MakeData) -> None:
    train(model={"hidden": [4]})
    model = CatDogClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    data = make_data()
    data.setup()
    with torch.no_grad():
        probabilities = model(data.store.pixels[data.test.rows] / 127.5 - 1).sigmoid()
    lines = (tmp_path / "run/predictions.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[3]) for line in lines] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert model.hparams["class_names"] == ("cats", "dogs")
    assert model.hparams["hidden"] == [4]


@pytest.mark.parametrize("lr", [0, -1, float("nan"), float("inf"), "abc"])
def test_a_learning_rate_without_sense_is_refused(lr: Any) -> None:
    with pytest.raises(InputError, match="model.lr must be a number above 0, got"):
        make_classifier(lr=lr)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("schedule", None, "constant or cosine"), ("schedule", ["cosine"], "constant or cosine"),
        ("test_time_augmentation", "yes", "true or false"), ("test_time_augmentation", 1, "true or false"),
        ("weight_decay", -1, "a number at least 0"), ("weight_decay", float("nan"), "a number at least 0"),
        ("weight_decay", True, "a number at least 0"),
        ("whitening", -1, "a whole number of at least 0"), ("whitening", 2.5, "a whole number of at least 0"),
        ("whitening", 193, "a whole number of at least 0, at most 192"),
        ("hog", 33, "a whole number of at least 0, at most 32"),
        ("replicas", 0, "a whole number of at least 1"), ("replicas", 1.5, "a whole number of at least 1"),
        ("replicas", True, "a whole number of at least 1"),
    ],
)  # fmt: skip
def test_options_without_sense_are_refused(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        make_classifier(**{key: value})
    assert str(caught.value) == f"model.{key} must be {allowed}, got {value!r}"


def ten_views(images: Tensor) -> list[Tensor]:
    """Corners and middle of images and of their mirror images, 9 of 10 pixels wide, enlarged."""
    size = images.shape[3]
    crop = round(0.9 * size)
    middle = round((size - crop) / 2)
    places = ((0, 0), (0, size - crop), (size - crop, 0), (size - crop, size - crop), (middle, middle))
    both = images, images.flip(3)
    crops = [own[:, :, y : y + crop, x : x + crop] for own in both for y, x in places]
    return [functional.interpolate(view, (size, size), mode="bilinear") for view in crops]


def test_test_time_augmentation_averages_the_probabilities_of_ten_crops() -> None:
    plain, averaging = (make_classifier(hidden=[5], test_time_augmentation=on, replicas=2) for on in (False, True))
    images = torch.rand(7, 3, 8, 8) * 2 - 1
    expected = torch.stack([plain(view).sigmoid() for view in ten_views(images)]).mean(0)
    torch.testing.assert_close(averaging(images).sigmoid(), expected)
    assert averaging(images).shape == (2, 7)


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=5))
def test_the_mean_logit_is_that_of_the_mean_probability(logits: list[float]) -> None:
    values = torch.tensor(logits, dtype=torch.float64)
    torch.testing.assert_close(mean_logits(values, 0).sigmoid(), values.sigmoid().mean(), atol=1e-12, rtol=1e-9)
    assert mean_logits(values, 0).isfinite()
    torch.testing.assert_close(mean_logits(values, 0), -mean_logits(-values, 0))


def test_validation_looks_once_and_the_test_ten_times(train: Train, make_data: MakeData, tmp_path: Path) -> None:
    options = {"hidden": [4], "test_time_augmentation": True, "lr": 1e-30}
    record = train(model=options, trainer={"max_epochs": 1})
    model = make_classifier(hidden=[4], image_size=16)
    data = make_data()
    data.setup()
    images = {split: data.store.pixels[getattr(data, split).rows] / 127.5 - 1 for split in ("val", "test")}
    loss = nn.BCEWithLogitsLoss()(model(images["val"]), data.val.labels)
    assert record["val/loss"] == pytest.approx(loss.item(), abs=1e-6)
    found = pd.read_csv(tmp_path / "run/predictions.csv")["probability"].to_numpy()
    expected = torch.stack([model(view).sigmoid() for view in ten_views(images["test"])]).mean(0)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


def test_logits_of_any_size_give_a_finite_loss() -> None:
    logits, labels = torch.tensor([[-3000.0, 3000.0], [3000.0, -3000.0]]), torch.tensor([1.0, 0.0])
    assert cross_entropy(logits, labels, "none").tolist() == [[3000, 3000], [0, 0]]


@pytest.mark.parametrize(
    ("hidden", "lr", "options"), [([], 0.1, {}), ([4], 0.1, {}), ([5, 5, 3], 0.1, {}), ([5, 3], 0.001, RECIPE)]
)
def test_every_replica_learns_what_it_would_alone(
    train: Train, tmp_path: Path, hidden: list[int], lr: float, options: dict[str, Any]
) -> None:
    """As a run of its own, with its own seed and the same batches, also with its own best epoch."""
    arguments: dict[str, Any] = {"data": {"augment": bool(options)}, "trainer": {"max_epochs": 6}}
    net = {"hidden": hidden, "lr": lr, **options}
    together = train("together", model=net | {"replicas": 3, "seed": 5}, **arguments)
    weights = torch.load(tmp_path / "together/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    weights = {name: value for name, value in weights.items() if "whitening" not in name}
    for number, replica in enumerate(together["replicas"]):
        alone = train(f"alone{number}", model=net | {"seed": 5 + number}, **arguments)["replicas"][0]
        own = torch.load(tmp_path / f"alone{number}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in weights:
            torch.testing.assert_close(weights[name][number], own[name][0], atol=1e-5, rtol=1e-4)
        assert replica["seed"] == alone["seed"] == 5 + number
        assert replica["tested_epoch"] == alone["tested_epoch"]
        for name in ("test/acc", "test/loss", "val/acc", "val/loss", "val/dead"):
            assert replica[name] == pytest.approx(alone[name], abs=1e-4)
        for one, other in zip(replica["history"], alone["history"], strict=True):
            assert one == pytest.approx(other | {"seconds": one["seconds"]}, abs=1e-4)


def test_a_dead_replica_is_counted_and_the_others_go_on(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    class KillSecond(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            nn.init.constant_(pl_module.network.layers[0].bias[1], -1e6)

    with caplog.at_level(logging.WARNING, logger="catdog"):
        record = train(model={"hidden": [5], "replicas": 3, "seed": 1}, callbacks=[KillSecond()])
    assert [replica["val/dead"] for replica in record["replicas"]] == [0, 1, 0]
    assert len({replica["val/loss"] for replica in record["replicas"]}) == 3


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
def test_validating_fitting_and_testing_follow_each_other_and_forget_what_was_interrupted(make_data: MakeData) -> None:
    class Fail(Callback):
        def on_test_batch_end(self, *args: Any) -> None:
            raise RuntimeError("stop")

    def trainer(*callbacks: Callback) -> Trainer:
        return Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
                       enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks))  # fmt: skip

    model, data = make_classifier(hidden=[4], image_size=16), make_data()
    trainer().validate(model, data, verbose=False)
    trainer().fit(model, data)
    before = trainer().test(model, data, verbose=False)
    with pytest.raises(RuntimeError, match="stop"):
        trainer(Fail()).test(model, data, verbose=False)
    assert trainer().test(model, data, verbose=False) == before
    trainer().fit(model.train(), data)
