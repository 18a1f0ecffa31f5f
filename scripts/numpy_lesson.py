"""Train the NumPy network and Lightning's, and compare their losses: `python scripts/numpy_lesson.py`.

Both use the same photos, split, initial weights and batch order; `catdog.numpy_mlp` computes in float64, PyTorch in
float32. A diagram of the network and the loss curves are saved.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from catdog import CatDogClassifier, CatDogDataModule, plots
from catdog.cli import one_line_errors, silenced_libraries
from catdog.data import FolderSource, SyntheticSource
from catdog.errors import check_whole_number
from catdog.numpy_mlp import Layers, bce, forward, train_step
from catdog.training import RunCheckpoint

Photos = tuple[NDArray[np.float64], NDArray[np.float64]]  # X (features, photos) in [-1, 1]; labels (1, photos)
Losses = list[tuple[float, float]]  # training and validation loss of every epoch


def photos_at(data: CatDogDataModule, rows: torch.Tensor) -> Photos:
    """Read photos and labels at these rows of the store, in the layout of `catdog.numpy_mlp`."""
    pixels, labels = data.store.pixels[rows], data.store.labels[rows]
    return pixels.flatten(1).double().numpy().T / 127.5 - 1, labels.double().numpy()[np.newaxis]


def training_batches(data: CatDogDataModule, epoch: int) -> Iterator[Photos]:
    """Yield the batches of an epoch (from 0) in the order that Lightning uses."""
    sampler: Any = data.train_dataloader().batch_sampler.sampler
    sampler.set_epoch(epoch)
    for positions in torch.tensor(list(sampler)).split(data.batch_size):
        yield photos_at(data, data.train.rows[positions])


def train_by_hand(data: CatDogDataModule, parameters: Layers, lr: float, epochs: int) -> Losses:
    """Train with `catdog.numpy_mlp` from the given weights; return the losses."""
    photos, labels = photos_at(data, data.val.rows)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for batch, y in training_batches(data, epoch):
            loss, parameters = train_step(batch, y, parameters, lr)
            total += loss * y.size
        losses.append((total / len(data.train), bce(forward(photos, parameters)[0], labels)))
    return losses


def copy_parameters(model: CatDogClassifier) -> Layers:
    """Copy a network's weights and biases, in the layout of `catdog.numpy_mlp`."""
    values = [value.detach().double().numpy() for layer in model.network.layers for value in layer.parameters()]
    return [(W[0].copy(), b.T.copy()) for W, b in zip(values[::2], values[1::2], strict=True)]


def train_with_lightning(data: CatDogDataModule, model: CatDogClassifier, epochs: int) -> Losses:
    """Train as `train.py` does; return the losses."""
    with tempfile.TemporaryDirectory() as folder, silenced_libraries():
        history = RunCheckpoint()
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, num_sanity_val_steps=0, callbacks=[history], logger=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(model, data)
    return [(row["train/loss"][0], row["val/loss"][0]) for row in history.rows]


def curves(by_hand: Losses, lightning: Losses) -> Figure:
    """Plot both networks' losses and their absolute differences."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss, difference = figure.subplots(1, 2)
    epochs = range(1, len(by_hand) + 1)
    pairs = zip(zip(*by_hand, strict=True), zip(*lightning, strict=True), strict=True)
    parts = (("training", plots.TRAIN_COLOR), ("validation", plots.VAL_COLOR))
    for (part, color), (ours, theirs) in zip(parts, pairs, strict=True):
        loss.plot(epochs, theirs, color=color, label=f"{part}, Lightning")
        loss.plot(epochs, ours, "o", color=color, mfc="none", markersize=8, label=f"{part}, by hand")
        difference.plot(epochs, np.abs(np.subtract(ours, theirs)), "o-", color=color, label=part)
    loss.set(xlabel="epoch", ylabel="binary cross-entropy", title="two nets, one curve")
    difference.set(xlabel="epoch", ylabel="absolute difference", yscale="log", title="float64 against float32")
    for axes in (loss, difference):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def table(by_hand: Losses, lightning: Losses) -> str:
    """Build a table of both networks' losses per epoch."""
    lines = ["       training loss            validation loss", "epoch  by hand     Lightning    by hand     Lightning"]
    for epoch, (ours, theirs) in enumerate(zip(by_hand, lightning, strict=True), start=1):
        lines.append(f"{epoch:5d}  {ours[0]:.7f}  {theirs[0]:.7f}    {ours[1]:.7f}  {theirs[1]:.7f}")
    return "\n".join(lines)


def compare(data: CatDogDataModule, hidden: list[int], epochs: int, output: Path) -> None:
    """Train both networks, print their losses, save the figures."""
    model = CatDogClassifier(hidden, data.image_size)
    parameters = copy_parameters(model)  # before training changes them
    lightning = train_with_lightning(data, model, epochs)
    by_hand = train_by_hand(data, parameters, model.hparams["lr"], epochs)
    widths = [parameters[0][0].shape[1], *(len(W) for W, _ in parameters)]
    print(f"{' → '.join(f'{width:,}' for width in widths)} on {len(data.train)} photos\n")
    print(table(by_hand, lightning))
    print(f"\nlargest difference: {np.abs(np.subtract(by_hand, lightning)).max():.1e}")
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in {"network": plots.network_diagram(widths), "losses": curves(by_hand, lightning)}.items():
        figure.savefig(output / f"{name}.png", dpi=100)
        print(f"picture: {output / name}.png")


def main() -> None:
    """Parse the command line, train and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, nargs="*", default=[5, 5, 3], help="hidden widths; none: no hidden layer")
    parser.add_argument("--epochs", type=int, default=10, help="how often every training photo is seen (10)")
    parser.add_argument("--photos", help="a folder with two class sub-folders; drawn photos without it")
    parser.add_argument("--image-size", type=int, default=128, help="height and width of a photo in pixels (128)")
    parser.add_argument("--output", type=Path, default=Path("outputs/numpy_lesson"), help="folder of the pictures")
    arguments = parser.parse_args()
    with one_line_errors():
        check_whole_number("--epochs", arguments.epochs, least=1)
        source = FolderSource(arguments.photos) if arguments.photos else SyntheticSource()
        data = CatDogDataModule(source, image_size=arguments.image_size)
        compare(data, arguments.hidden, arguments.epochs, arguments.output)


if __name__ == "__main__":
    main()
