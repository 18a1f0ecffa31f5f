import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback
from torch import Tensor, nn

from catdog.classifier import CatDogClassifier, losses, mean_logits
from catdog.data import CatDogDataModule, FolderSource
from catdog.errors import InputError
from catdog.views import slight_views
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


def assert_parity(train: Train, data: CatDogDataModule, hidden: tuple[int, ...], **arguments: Any) -> None:
    steps = StepLosses()
    record = train(hidden=hidden, max_epochs=3, callbacks=(steps,), **arguments)
    data.setup()
    losses, accuracies = plain_training(data, list(hidden), epochs=3)
    assert steps.losses == pytest.approx(losses, abs=1e-5)
    assert [epoch["val/acc"] for epoch in record["history"]] == pytest.approx(accuracies)


@pytest.mark.parametrize("hidden", [(), (4,), (5, 5, 3)])
def test_losses_equal_those_of_a_plain_pytorch_loop(train: Train, make_data: MakeData, hidden: tuple[int, ...]) -> None:
    assert_parity(train, make_data(), hidden)


def test_losses_equal_those_of_a_plain_pytorch_loop_on_real_photos(
    train: Train, make_data: MakeData, real_photos: Path
) -> None:
    arguments = {"source": FolderSource, "root": real_photos, "image_size": 128, "batch_size": 32}
    assert_parity(train, make_data(**arguments), (5, 5, 3), **arguments)


def test_logged_metrics_are_means_over_photos(train: Train, make_data: MakeData) -> None:
    """With lr tiny, the weights stay put, so that an epoch's metrics are those of the initial weights."""
    record = train(max_epochs=1, lr=1e-30, batch_size=32)
    model = make_classifier(hidden=[5, 5, 3], image_size=16)
    data = make_data()
    data.setup()
    for part in ("train", "val"):
        photos = getattr(data, part)
        pixels, labels = data.store.gather(photos.rows)
        probabilities = model(pixels / 127.5 - 1)[0].sigmoid()
        assert record["history"][0][f"{part}/loss"] == pytest.approx(
            nn.BCELoss()(probabilities, labels).item(), abs=1e-6
        )
        accuracy = ((probabilities > 0.5) == (labels > 0.5)).float().mean().item()
        assert record["history"][0][f"{part}/acc"] == pytest.approx(accuracy)


class Kill(Callback):
    """Makes hidden layer 2 dead at the start of the second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            nn.init.constant_(pl_module.network.layers[1].bias, -1e6)


def test_a_dead_layer_is_warned_of_once_and_recorded(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="catdog"):
        record = train(max_epochs=4, callbacks=(Kill(),))
    warnings = [message for message in caplog.messages if "dead" in message]
    assert len(warnings) == 1
    assert "epoch 2: hidden layer 2 of seed 0 is dead, none of its 5 units" in warnings[0]
    assert [epoch["dead_layers"] > 0 for epoch in record["history"]] == [False, True, True, True]


def test_a_checkpoint_alone_gives_the_same_network(train: Train, tmp_path: Path, make_data: MakeData) -> None:
    train(hidden=(4,))
    model = CatDogClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    data = make_data()
    data.setup()
    with torch.no_grad():
        probabilities = model(data.store.pixels[data.test.rows] / 127.5 - 1)[0].sigmoid()
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
        ("activation", "tanh", "relu or gelu"), ("activation", ["relu"], "relu or gelu"),
        ("normalization", "batch", "none or layer"), ("optimizer", "adam", "sgd or adamw"),
        ("schedule", None, "constant or cosine"), ("test_time_augmentation", "yes", "true or false"),
        ("dropout", 1, "a number of at least 0, below 1"), ("dropout", -0.1, "a number of at least 0, below 1"),
        ("warmup", 1.0, "a number of at least 0, below 1"), ("weight_decay", -1, "a number of at least 0"),
        ("weight_decay", float("nan"), "a number of at least 0"), ("dropout", True, "a number of at least 0, below 1"),
        ("whitening", -1, "a whole number of at least 0"), ("whitening", 2.5, "a whole number of at least 0"),
    ],
)  # fmt: skip
def test_options_without_sense_are_refused(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        make_classifier(**{key: value})
    assert str(caught.value) == f"model.{key} must be {allowed}, got {value!r}"


def test_more_components_than_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="model.whitening is a number of principal components, at most 192, got 193"):
        make_classifier(whitening=193)
    with pytest.raises(InputError, match="model.edges is a number of principal components, at most 32, got 33"):
        make_classifier(edges=33)


def test_batches_of_training_images_may_share_their_memory() -> None:
    images, buffer = torch.rand(40, 3, 8, 8), torch.empty(10, 3, 8, 8)
    one, other = make_classifier(whitening=5, edges=5), make_classifier(whitening=5, edges=5)
    one.fit_features([images])
    other.fit_features(buffer.copy_(batch) for batch in images.split(10))
    for name, value in one.named_buffers():
        assert value.equal(other.get_buffer(name)), name


def test_test_time_augmentation_averages_the_probabilities_of_ten_views() -> None:
    plain, averaging = (make_classifier(hidden=[5], test_time_augmentation=on, replicas=2) for on in (False, True))
    images = torch.rand(7, 3, 8, 8) * 2 - 1
    expected = torch.stack([plain(view).sigmoid() for view in slight_views(images)]).mean(0)
    torch.testing.assert_close(averaging(images).sigmoid(), expected)


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=5))
def test_the_mean_logit_is_that_of_the_mean_probability(logits: list[float]) -> None:
    values = torch.tensor(logits, dtype=torch.float64)
    torch.testing.assert_close(mean_logits(values, 0).sigmoid(), values.sigmoid().mean(), atol=1e-12, rtol=1e-9)
    assert mean_logits(values, 0).isfinite()
    torch.testing.assert_close(mean_logits(values, 0), -mean_logits(-values, 0))


def test_validation_looks_once_and_the_test_ten_times(train: Train, make_data: MakeData, tmp_path: Path) -> None:
    record = train(hidden=(4,), options={"test_time_augmentation": True}, lr=1e-30, max_epochs=1)
    model = make_classifier(hidden=[4], image_size=16)
    data = make_data()
    data.setup()
    images = {part: data.store.pixels[getattr(data, part).rows] / 127.5 - 1 for part in ("val", "test")}
    labels = data.store.labels[data.val.rows]
    assert record["val/loss"] == pytest.approx(losses(model(images["val"]), labels).mean().item(), abs=1e-6)
    found = pd.read_csv(tmp_path / "run/predictions.csv")["probability"].to_numpy()
    expected = torch.stack([model(view).sigmoid()[0] for view in slight_views(images["test"])]).mean(0)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("replicas", [0, -1, 1.5, "abc", True])
def test_a_number_of_replicas_without_sense_is_refused(replicas: Any) -> None:
    with pytest.raises(InputError, match="model.replicas must be a whole number of at least 1, got"):
        make_classifier(replicas=replicas)


def test_logits_of_any_size_give_a_finite_loss() -> None:
    logits, labels = torch.tensor([[-3000.0, 3000.0], [3000.0, -3000.0]]), torch.tensor([1.0, 0.0])
    assert losses(logits, labels).tolist() == [[3000, 3000], [0, 0]]


@pytest.mark.parametrize(
    ("hidden", "lr", "options"), [((), 0.1, {}), ((4,), 0.1, {}), ((5, 5, 3), 0.1, {}), ((5, 3), 0.001, RECIPE)]
)
def test_every_replica_learns_what_it_would_alone(
    train: Train, tmp_path: Path, hidden: tuple[int, ...], lr: float, options: dict[str, Any]
) -> None:
    """As a run of its own, with its own seed and the same batches, also with its own best epoch."""
    arguments: dict[str, Any] = {"hidden": hidden, "max_epochs": 6, "lr": lr, "options": options}
    together = train("together", replicas=3, seed=5, **arguments)
    weights = torch.load(tmp_path / "together/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    weights = {name: value for name, value in weights.items() if "whitening" not in name}
    for number, replica in enumerate(together["replicas"]):
        alone = train(f"alone{number}", seed=5 + number, **arguments)["replicas"][0]
        own = torch.load(tmp_path / f"alone{number}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in weights:
            torch.testing.assert_close(weights[name][number], own[name][0], atol=1e-5, rtol=1e-4)
        assert replica["seed"] == alone["seed"] == 5 + number
        assert replica["tested_epoch"] == alone["tested_epoch"]
        for name in ("test/acc", "test/loss", "val/acc", "val/loss", "dead_layers"):
            assert replica[name] == pytest.approx(alone[name], abs=1e-4)
        for one, other in zip(replica["history"], alone["history"], strict=True):
            assert one == pytest.approx(other | {"seconds": one["seconds"]}, abs=1e-4)


def test_a_dead_replica_is_named_and_the_others_go_on(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    class KillSecond(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            nn.init.constant_(pl_module.network.layers[0].bias[1], -1e6)

    with caplog.at_level(logging.WARNING, logger="catdog"):
        record = train(hidden=(5,), replicas=3, seed=1, callbacks=(KillSecond(),))
    assert [replica["dead_layers"] for replica in record["replicas"]] == [0, 1, 0]
    assert [message for message in caplog.messages if "hidden layer 1 of seed 2 is dead" in message]
    assert len({replica["val/loss"] for replica in record["replicas"]}) == 3
