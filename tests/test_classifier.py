import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from torch import Tensor, nn

from catdog.classifier import CatDogClassifier
from catdog.data import CatDogDataModule, FolderSource
from catdog.errors import InputError
from conftest import MakeData, Train


class StepLosses(Callback):
    """Collects the loss of every training step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
        self.losses.append(outputs["loss"].item())


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
    torch.manual_seed(0)
    model = CatDogClassifier(hidden=[5, 5, 3], lr=0.01, image_size=16, class_names=("cats", "dogs"))
    data = make_data()
    data.setup()
    for part in ("train", "val"):
        photos = getattr(data, part)
        pixels, labels = data.store.gather(photos.rows)
        probabilities = model(pixels / 127.5 - 1).sigmoid()
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
    assert "epoch 2: hidden layer 2 is dead, none of its 5 units" in warnings[0]
    assert [epoch["dead_layers"] > 0 for epoch in record["history"]] == [False, True, True, True]


def test_a_checkpoint_alone_gives_the_same_network(train: Train, tmp_path: Path, make_data: MakeData) -> None:
    train(hidden=(4,))
    model = CatDogClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    data = make_data()
    data.setup()
    with torch.no_grad():
        probabilities = model(data.store.pixels[data.test.rows] / 127.5 - 1).sigmoid()
    lines = (tmp_path / "run/predictions.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[2]) for line in lines] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert model.hparams["class_names"] == ("cats", "dogs")
    assert model.hparams["hidden"] == [4]


@pytest.mark.parametrize("lr", [0, -1, float("nan"), float("inf"), "abc"])
def test_a_learning_rate_without_sense_is_refused(lr: Any) -> None:
    with pytest.raises(InputError, match="model.lr must be a number above 0, got"):
        CatDogClassifier(hidden=[], lr=lr, image_size=8, class_names=("cats", "dogs"))


def test_logits_of_any_size_give_a_finite_loss() -> None:
    model = CatDogClassifier(hidden=[], lr=0.01, image_size=1, class_names=("cats", "dogs"))
    model.network.input_weights.fill_(1000.0)
    batch: tuple[Tensor, Tensor] = torch.ones(2, 3, 1, 1), torch.tensor([0.0, 1.0])
    loss = model.training_step(batch, 0)
    assert loss.item() == pytest.approx(1500, rel=1e-3)
