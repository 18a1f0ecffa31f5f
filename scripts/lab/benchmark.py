"""Measure catdog's speed against other implementations: `python scripts/lab/benchmark.py [SECTION …]`.

Every contender runs in a separate process, once per round, so that a slow phase of the machine affects all of them.
The table has medians over the rounds, with minimum and maximum. Sections:

  epoch     seconds per epoch with validation: plain PyTorch, a bare loop over cached tensors, catdog; --peers adds more
  process   `train.py` for 100 epochs, whole process, cache cold and warm, against the plain script's 100 epochs
  start     --help, imports alone, a run of one epoch; decoding all photos
  replicas  seconds per epoch and net with 1, 10, 16 and 64 replicas
  memory    peak memory of a run in MB
  study     depth_vs_epochs with ten replicas on one fold, against the plain script's 60 trainings (takes minutes)
  folds     depth_vs_epochs as configured, 60 runs in one process, against the same (takes a quarter of an hour)
  scale     25,000 synthetic photos against 2,000: microseconds per photo
  machine   speed of matrix products and memory, and of the first layer's operations
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("epoch", "process", "start", "replicas", "memory", "machine")
SECTIONS = (*QUICK, "study", "folds", "scale")
PEERS = {"scikit-learn": "sklearn", "keras": "keras"}
EPOCHS = 100
Contenders = Mapping[str, Callable[[], float]]


class Process(NamedTuple):
    """A finished process."""

    seconds: float
    memory: float  # peak, in MB
    output: str


def run(*command: str | Path) -> Process:
    """Run a command from the project's root.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"benchmark: {' '.join(map(str, command))} failed\n{text}")
    return Process(seconds, usage.ru_maxrss / 1024, text)


class Benchmark:
    """The contenders of every section, on one folder of photos.

    Args:
        photos: a folder with two class sub-folders.
        workspace: folder for temporary stores and runs.
        trainer: catdog's trainer configuration, such as cpu or gpu.
        peers: whether `epoch` measures PEERS too.
    """

    def __init__(self, photos: Path, workspace: Path, trainer: str, peers: bool) -> None:
        self.workspace, self.trainer, self.peers = workspace, trainer, peers
        self.photos, self.data = photos, ("data=folder", f"data.root='{photos}'", f"data.cache_dir='{workspace}/cache'")
        self.train("trainer.max_epochs=1")  # warms the cache

    def folder(self) -> str:
        """Make a new folder below the workspace."""
        return tempfile.mkdtemp(dir=self.workspace)

    def train(self, *overrides: str) -> tuple[Process, dict[str, Any]]:
        """Run `train.py`; return the process and the run's record."""
        folder = self.folder()
        options = (*self.data, f"trainer={self.trainer}", f"hydra.run.dir='{folder}'", *overrides)
        return run(sys.executable, "train.py", *options), json.loads(Path(folder, "metrics.json").read_text())

    def seconds(self, *overrides: str) -> float:
        """Measure the seconds of a whole run."""
        return self.train(*overrides)[0].seconds

    def per_epoch(self, *overrides: str, share: float = 1) -> float:
        """Measure the seconds of an epoch, times `share`."""
        return self.train(*overrides)[1]["seconds_per_epoch"] * share

    def timings(self, name: str, epochs: int) -> dict[str, float]:
        """Run another contender; return its timings per epoch, and `start`: the seconds outside the epochs."""
        process = run(sys.executable, Path(__file__).with_name("contenders.py"), name, self.photos, str(epochs))
        timings: dict[str, float] = json.loads(process.output.splitlines()[-1])
        return timings | {"start": process.seconds - epochs * sum(timings.values())}

    def epoch_of(self, name: str, epochs: int = 5) -> float:
        """Measure the seconds of another contender's epoch, including validation if it has any."""
        timings = self.timings(name, epochs)
        return timings["train"] + timings.get("validate", 0.0)

    def plain(self, epochs: int = EPOCHS, trainings: int = 1) -> float:
        """Estimate the seconds of the plain script from its start and two of its epochs."""
        timings = self.timings("plain", 2)
        return trainings * timings["start"] + epochs * (timings["train"] + timings["validate"])

    def epoch(self) -> Contenders:
        """Compare seconds per epoch: training with validation, for the peers training alone."""
        alone = "trainer.max_epochs=20", "trainer.limit_val_batches=0", "test_weights=last"
        peers = [name for name, package in PEERS.items() if self.peers and find_spec(package)]
        return {
            "plain PyTorch script, decodes every epoch": partial(self.epoch_of, "plain", 2),
            "bare loop over cached tensors": partial(self.epoch_of, "bare", 20),
            "catdog, with all that it records": partial(self.per_epoch, "trainer.max_epochs=20"),
            "catdog, training alone": partial(self.per_epoch, *alone),
        } | {name: partial(self.epoch_of, name) for name in peers}

    def process(self) -> Contenders:
        """Compare seconds of whole processes of 100 epochs."""
        asked = f"trainer.max_epochs={EPOCHS}"
        return {
            "plain PyTorch script (computed from 2 epochs)": self.plain,
            "catdog, cache cold": lambda: self.seconds(asked, f"data.cache_dir='{self.folder()}'"),
            "catdog, cache warm": partial(self.seconds, asked),
        }

    def start(self) -> Contenders:
        """Compare seconds of start-up: imports, --help, decoding, a run of one epoch."""
        imports = "import lightning, torchvision"
        return {
            f'python -c "{imports}"': lambda: run(sys.executable, "-c", imports).seconds,
            "train.py, 1 epoch, cache warm": partial(self.seconds, "trainer.max_epochs=1"),
            "train.py --help": lambda: run(sys.executable, "train.py", "--help").seconds,
            "decoding all photos": partial(self.epoch_of, "decode", 1),
        }

    def replicas(self) -> Contenders:
        """Compare seconds per epoch and net."""
        options = {
            count: (f"model.replicas={count}", f"trainer.max_epochs={epochs}")
            for count, epochs in ((1, 20), (10, 6), (16, 6), (64, 3))
        }
        return {f"{count} replicas": partial(self.per_epoch, *options[count], share=1 / count) for count in options}

    def memory(self) -> Contenders:
        """Measure the peak memory of a run in MB."""
        return {"catdog": lambda: self.train("trainer.max_epochs=5")[0].memory}

    def scale(self) -> Contenders:
        """Compare microseconds per photo and epoch."""

        def per_photo(count: int, epochs: int) -> float:
            source = "data=drawn", f"data.source.count={count}", "data.root=null"
            self.train(*source, "trainer.max_epochs=1")  # builds the store if it is missing
            return self.per_epoch(*source, f"trainer.max_epochs={epochs}", share=1e6 / (0.8 * count))

        return {"2,000 photos": partial(per_photo, 2_000, 20), "25,000 photos": partial(per_photo, 25_000, 4)}

    def study(self) -> Contenders:
        """Compare seconds of 60 trainings: three nets × 10 and 100 epochs × ten seeds."""
        return self.folds("model.replicas=10", "data.fold=0")

    def folds(self, *overrides: str) -> Contenders:
        """Compare seconds of 60 trainings: three nets × 10 and 100 epochs × ten folds."""
        command = (sys.executable, "train.py", "study=depth_vs_epochs", *self.data, *overrides)
        return {
            "plain PyTorch script, 60 trainings (computed)": lambda: self.plain(30 * (10 + EPOCHS), 60),
            "catdog, 60 trainings": lambda: run(*command, f"hydra.sweep.dir='{self.folder()}'").seconds,
        }

    def machine(self) -> Contenders:
        """Measure the operations that bound the time of an epoch."""
        parts = ("GFLOP/s of a matrix product", "GB/s of a copy", "ms of the first layer", "ms of its gradient")
        return {part: lambda part=part: self.timings("machine", 1)[part] for part in parts}  # type: ignore[misc]


def measure(section: str, contenders: Contenders, rounds: int) -> list[dict[str, Any]]:
    """Run every contender once per round; print and return rows, with the first one's value divided by each."""
    turns = [{name: contender() for name, contender in contenders.items()} for _ in range(rounds)]
    rows = []
    for name in contenders:
        values = [turn[name] for turn in turns]
        ratios = [] if section in ("memory", "machine") else [next(iter(turn.values())) / turn[name] for turn in turns]
        rows.append({"section": section, "contender": name, "values": values, "ratios": ratios})
        print(f"| {section} | {name} | {_spread(values)} | {_spread(ratios)} |", flush=True)
    return rows


def _spread(values: list[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})" if values else ""


def write_photos(folder: Path, count: int = 2000) -> Path:
    """Write synthetic photos as JPEG files of about the size of photos from the web."""
    from PIL import Image

    from catdog.data.synthetic import draw_photo

    for number in range(count):
        path = folder / ("cats", "dogs")[number % 2] / f"{number:05d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            photo = draw_photo(np.random.default_rng(number), is_dog=bool(number % 2), image_size=256)
            photo.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def main() -> None:
    """Read the command line, measure, print a table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", metavar="SECTION", nargs="*", default=QUICK, help=f"default: {' '.join(QUICK)}")
    parser.add_argument("--photos", type=Path, help="two class sub-folders; 2,000 synthetic ones by default")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of every contender (default 3)")
    parser.add_argument("--trainer", default="auto", help="catdog's trainer configuration (default auto)")
    parser.add_argument("--peers", action="store_true", help=f"also {' and '.join(PEERS)}, where installed")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs/benchmark", help="where benchmark.json goes")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if arguments.rounds < 1:
        parser.error(f"--rounds must be a whole number of at least 1, got {arguments.rounds}")
    if arguments.photos and not arguments.photos.is_dir():
        parser.error(f"no folder at '{arguments.photos}'")
    arguments.output.mkdir(parents=True, exist_ok=True)
    photos = (arguments.photos or write_photos(arguments.output / "photos")).resolve()
    with tempfile.TemporaryDirectory(dir=arguments.output.resolve()) as workspace:
        benchmark = Benchmark(photos, Path(workspace), arguments.trainer, arguments.peers)
        print("| section | contender | median (smallest–largest) | times as fast as the first |\n|---|---|---|---|")
        rows = []
        for section in arguments.sections:
            rows += measure(section, getattr(benchmark, section)(), arguments.rounds)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    report = {"machine": machine, "rounds": arguments.rounds, "results": rows}
    (arguments.output / "benchmark.json").write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
