"""Contenders of `benchmark.py`: `python scripts/contenders.py NAME FOLDER EPOCHS` prints its own account.

Each trains the exercise's deep net on the folder's photos and gives medians over its epochs, in seconds.
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


def plain(photos: Path, epochs: int) -> dict[str, float]:
    """Train the course's exercise in plain PyTorch."""
    from torch.utils.data import DataLoader, random_split
    from torchvision import datasets, transforms

    torch.manual_seed(0)
    steps = [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    photos_and_labels = datasets.ImageFolder(str(photos), transforms.Compose(steps))
    tenth = len(photos_and_labels) // 10
    parts = random_split(photos_and_labels, [len(photos_and_labels) - 2 * tenth, tenth, tenth])
    train, val = DataLoader(parts[0], BATCH, shuffle=True), DataLoader(parts[1], BATCH)
    net = nn.Sequential(nn.Flatten(), *_layers(), nn.Sigmoid())
    optimizer, bce = torch.optim.SGD(net.parameters(), LR), nn.BCELoss()
    account: dict[str, list[float]] = {"train": [], "validate": []}
    for _ in range(epochs):
        for name, loader in (("train", train), ("validate", val)):
            started = time.perf_counter()
            for images, labels in loader:
                if name == "train":
                    optimizer.zero_grad()
                    bce(net(images).squeeze(1), labels.float()).backward()
                    optimizer.step()
                else:
                    with torch.no_grad():
                        net(images)
            account[name].append(time.perf_counter() - started)
    return {name: median(times) for name, times in account.items()}


def bare(photos: Path, epochs: int) -> dict[str, float]:
    """The same training over pixels in memory, with nothing but PyTorch."""
    pixels, labels = _decoded(photos)
    torch.manual_seed(0)
    net = nn.Sequential(*_layers())
    optimizer, buffer = torch.optim.SGD(net.parameters(), LR), torch.empty(BATCH, INPUTS)
    order = torch.randperm(len(pixels))
    train, val = order[: int(0.8 * len(order))], order[int(0.8 * len(order)) : int(0.9 * len(order))]

    def logits(rows: Tensor) -> Tensor:
        images = buffer[: len(rows)].copy_(pixels.index_select(0, rows).flatten(1)).div_(127.5).sub_(1)
        return net(images).squeeze(1)

    account: dict[str, list[float]] = {"train": [], "validate": []}
    for _ in range(epochs):
        started = time.perf_counter()
        for rows in train[torch.randperm(len(train))].split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(logits(rows), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        account["train"].append(time.perf_counter() - started)
        started = time.perf_counter()
        with torch.no_grad():
            for rows in val.split(BATCH):
                logits(rows)
        account["validate"].append(time.perf_counter() - started)
    return {name: median(times) for name, times in account.items()}


def _layers() -> list[nn.Module]:
    """The net's layers, for flat images; its output are logits."""
    layers: list[nn.Module] = []
    for pair in pairwise([INPUTS, *HIDDEN]):
        layers += [nn.Linear(*pair), nn.ReLU()]
    return [*layers, nn.Linear(HIDDEN[-1], 1)]


def _decoded(photos: Path) -> tuple[Tensor, Tensor]:
    from catdog.data import FolderSource, PixelStore

    with tempfile.TemporaryDirectory() as cache:
        store = PixelStore.of(FolderSource(photos), SIZE, cache)
        return store.pixels.clone(), store.labels


def decode(photos: Path, epochs: int) -> dict[str, float]:
    """Reading, resizing and storing all photos."""
    from catdog.data import FolderSource  # noqa: F401  imports are not what is measured

    started = time.perf_counter()
    _decoded(photos)
    return {"train": time.perf_counter() - started}


def scikit_learn(photos: Path, epochs: int) -> dict[str, float]:
    """scikit-learn's MLPClassifier on an array in memory."""
    from sklearn.neural_network import MLPClassifier

    pixels, labels = _decoded(photos)
    images = pixels[: int(0.8 * len(pixels))].flatten(1).numpy() / np.float32(127.5) - np.float32(1)
    net = MLPClassifier(HIDDEN, solver="sgd", batch_size=BATCH, learning_rate_init=LR, momentum=0, alpha=0)
    return {"train": _epochs(lambda: net.partial_fit(images, labels[: len(images)].numpy(), classes=[0, 1]), epochs)}


def keras(photos: Path, epochs: int) -> dict[str, float]:
    """Keras on TensorFlow's cached folder of images."""
    import keras as k

    data = k.utils.image_dataset_from_directory(
        photos, label_mode="binary", image_size=(SIZE, SIZE), batch_size=BATCH, validation_split=0.2, subset="training",
        seed=0, verbose=False,
    )  # fmt: skip
    layers = [k.layers.Rescaling(1 / 127.5, offset=-1), k.layers.Flatten()]
    net = k.Sequential([*layers, *(k.layers.Dense(width, "relu") for width in HIDDEN), k.layers.Dense(1, "sigmoid")])
    net.compile(k.optimizers.SGD(LR), loss="binary_crossentropy", metrics=["accuracy"])
    cached = data.cache()
    return {"train": _epochs(lambda: net.fit(cached, verbose=0), epochs)}


def _epochs(fit: Callable[[], object], epochs: int) -> float:
    """Median seconds of an epoch, after one that warms up."""
    fit()
    times = []
    for _ in range(epochs):
        started = time.perf_counter()
        fit()
        times.append(time.perf_counter() - started)
    return median(times)


def machine(photos: Path, epochs: int) -> dict[str, float]:
    """GFLOP/s of a large matrix product, GB/s of a copy, and ms of the first layer's two products for one batch."""

    def best(function: Callable[[], object], repeats: int) -> float:
        return min(_epochs(function, 1) for _ in range(repeats))

    square, block = torch.rand(2048, 2048), torch.rand(64_000_000)
    target, images = torch.empty_like(block), torch.rand(BATCH, INPUTS)
    weights, errors = torch.rand(HIDDEN[0], INPUTS), torch.rand(BATCH, HIDDEN[0])
    return {
        "gemm": 2 * 2048**3 / best(lambda: square @ square, 10) / 1e9,
        "memory": 2 * block.nbytes / best(lambda: target.copy_(block), 10) / 1e9,
        "first layer": best(lambda: images @ weights.T, 200) * 1e3,
        "its gradient": best(lambda: errors.T @ images, 200) * 1e3,
    }


CONTENDERS = {
    "plain": plain,
    "bare": bare,
    "decode": decode,
    "scikit-learn": scikit_learn,
    "keras": keras,
    "machine": machine,
}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
