"""Contenders of `benchmark.py`: `python scripts/lab/contenders.py NAME FOLDER EPOCHS` prints its timings as JSON.

Each trains the exercise's deep net on the folder's photos; timings are medians over its epochs, in seconds.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN, LR, BATCH, SIZE = [5, 5, 3], 0.01, 32, 128  # the exercise's deep net, on its photos
INPUTS = 3 * SIZE**2
Timings = dict[str, float]


def timed(epochs: int, **parts: Callable[[], object]) -> Timings:
    """Call the parts in turn, `epochs` times; return the median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(epochs):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def plain(photos: Path, epochs: int) -> Timings:
    """Train as the course's exercise does, in plain PyTorch."""
    from torch.utils.data import DataLoader, random_split
    from torchvision import datasets, transforms

    torch.manual_seed(0)
    steps = [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    train, val, _ = random_split(datasets.ImageFolder(str(photos), transforms.Compose(steps)), [0.8, 0.1, 0.1])
    batches, val_batches = DataLoader(train, BATCH, shuffle=True), DataLoader(val, BATCH)
    net = nn.Sequential(nn.Flatten(), *_layers(), nn.Sigmoid())
    optimizer, bce = torch.optim.SGD(net.parameters(), LR), nn.BCELoss()

    def learn() -> None:
        for images, labels in batches:
            optimizer.zero_grad()
            bce(net(images).squeeze(1), labels.float()).backward()
            optimizer.step()

    @torch.no_grad()
    def validate() -> None:
        for images, _ in val_batches:
            net(images)

    return timed(epochs, train=learn, validate=validate)


def bare(photos: Path, epochs: int) -> Timings:
    """Train the same net on pixels in memory, with PyTorch alone."""
    pixels, labels = _decoded(photos)
    torch.manual_seed(0)
    net = nn.Sequential(*_layers())
    optimizer, buffer = torch.optim.SGD(net.parameters(), LR), torch.empty(BATCH, INPUTS)
    tenth = len(pixels) // 10
    train, val, _ = torch.randperm(len(pixels)).split([len(pixels) - 2 * tenth, tenth, tenth])

    def logits(rows: Tensor) -> Tensor:
        images = buffer[: len(rows)].copy_(pixels.index_select(0, rows).flatten(1)).div_(127.5).sub_(1)
        return net(images).squeeze(1)

    def learn() -> None:
        for rows in train[torch.randperm(len(train))].split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(logits(rows), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def validate() -> None:
        for rows in val.split(BATCH):
            logits(rows)

    return timed(epochs, train=learn, validate=validate)


def _layers() -> list[nn.Module]:
    """Build the net's layers for flattened images; the output is the logit."""
    layers: list[nn.Module] = []
    for pair in pairwise([INPUTS, *HIDDEN]):
        layers += [nn.Linear(*pair), nn.ReLU()]
    return [*layers, nn.Linear(HIDDEN[-1], 1)]


def _decoded(photos: Path) -> tuple[Tensor, Tensor]:
    from catdog.data import FolderSource, PixelStore

    with tempfile.TemporaryDirectory() as cache:
        store = PixelStore.of(FolderSource(photos), SIZE, cache)
        return store.pixels.clone(), store.labels


def decode(photos: Path, epochs: int) -> Timings:
    """Read, resize and store all photos."""
    import catdog.data  # noqa: F401  keeps the import out of the measurement

    return timed(1, train=lambda: _decoded(photos))


def scikit_learn(photos: Path, epochs: int) -> Timings:
    """Train scikit-learn's MLPClassifier on an array in memory."""
    from sklearn.neural_network import MLPClassifier

    pixels, labels = _decoded(photos)
    images = pixels[: int(0.8 * len(pixels))].flatten(1).numpy() / np.float32(127.5) - np.float32(1)
    net = MLPClassifier(HIDDEN, solver="sgd", batch_size=BATCH, learning_rate_init=LR, momentum=0, alpha=0)

    def learn() -> None:
        net.partial_fit(images, labels[: len(images)].numpy(), classes=[0, 1])

    learn()  # warms up
    return timed(epochs, train=learn)


def keras(photos: Path, epochs: int) -> Timings:
    """Train Keras on TensorFlow's cached folder of images."""
    import keras as k

    data = k.utils.image_dataset_from_directory(
        photos, label_mode="binary", image_size=(SIZE, SIZE), batch_size=BATCH, validation_split=0.2, subset="training",
        seed=0, verbose=False,
    ).cache()  # fmt: skip
    layers = [k.layers.Rescaling(1 / 127.5, offset=-1), k.layers.Flatten()]
    net = k.Sequential([*layers, *(k.layers.Dense(width, "relu") for width in HIDDEN), k.layers.Dense(1, "sigmoid")])
    net.compile(k.optimizers.SGD(LR), loss="binary_crossentropy", metrics=["accuracy"])
    net.fit(data, verbose=0)  # warms up
    return timed(epochs, train=lambda: net.fit(data, verbose=0))


if __name__ == "__main__":
    contender = globals()[sys.argv[1].replace("-", "_")]
    print(json.dumps(contender(Path(sys.argv[2]), int(sys.argv[3]))))
