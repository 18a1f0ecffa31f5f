"""Measure catdog's speed against other implementations: `python scripts/lab/benchmark.py [SECTION …]`.

Every contender runs in a separate process, once per round, so that a slow phase of the machine affects all of them.
The table has medians over the rounds, with minimum and maximum. Sections:

  epoch     seconds per epoch: plain PyTorch, a bare loop over cached tensors, scikit-learn, Keras, catdog
  process   `train.py` for 100 epochs, whole process, cache cold and warm, against the plain script's 100 epochs
  start     --help, imports alone, a run of one epoch; decoding all photos
  replicas  seconds per epoch and net with 1, 10, 16 and 64 replicas
  memory    peak memory of a run in MB
  study     depth_vs_epochs with one seed, 60 runs on ten folds: one at a time with all threads, on all cores (an hour)
  seeds     depth_vs_epochs with ten replicas on one fold, against the plain script's 60 trainings
  scale     25,000 and 200,000 synthetic photos of 32 pixels against 2,000: microseconds per photo and epoch

Peers are measured where they are installed: `pip install --editable '.[peers]'`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("epoch", "process", "start", "replicas", "memory")
SECTIONS = (*QUICK, "study", "seeds", "scale")
PEERS = {"scikit-learn": "sklearn", "keras": "keras"}
EPOCHS = 100
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Contenders = Mapping[str, Callable[[], float]]


class Process(NamedTuple):
    """A finished process."""

    seconds: float
    memory: float  # peak, in MB
    output: str


def run(*command: str | Path, threads: int | None = None) -> Process:
    """Run a command from the project's root; `threads` sets OMP_NUM_THREADS.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
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
    """

    def __init__(self, photos: Path, workspace: Path, trainer: str) -> None:
        self.workspace, self.trainer = workspace, trainer
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

    def timings(self, name: str, epochs: int, threads: int | None = None) -> dict[str, float]:
        """Run another contender; return its timings per epoch, and `start`: the seconds outside the epochs."""
        command = sys.executable, Path(__file__).with_name("contenders.py"), name, self.photos, str(epochs)
        process = run(*command, threads=threads)
        timings: dict[str, float] = json.loads(process.output.splitlines()[-1])
        return timings | {"start": process.seconds - epochs * sum(timings.values())}

    def epoch_of(self, name: str, epochs: int = 5, threads: int | None = None) -> float:
        """Measure the seconds of another contender's epoch, including validation if it has any."""
        timings = self.timings(name, epochs, threads)
        return timings["train"] + timings.get("validate", 0.0)

    def plain(self, epochs: int = EPOCHS, trainings: int = 1) -> float:
        """Estimate the seconds of the plain script from its start and two of its epochs."""
        timings = self.timings("plain", 2)
        return trainings * timings["start"] + epochs * (timings["train"] + timings["validate"])

    def epoch(self) -> Contenders:
        """Compare seconds per epoch: training with validation, for the peers and "alone" without."""
        epochs, alone = "trainer.max_epochs=20", ("trainer.limit_val_batches=0", "test_weights=last")
        contenders = {"plain PyTorch script, decodes every epoch": partial(self.epoch_of, "plain", 2)}
        for threads in sorted({1, CORES}):
            suffix = f", {threads} thread{'s' * (threads > 1)}"
            contenders |= {
                f"bare loop over cached tensors{suffix}": partial(self.epoch_of, "bare", 20, threads),
                f"catdog{suffix}": partial(self.per_epoch, epochs, f"threads={threads}"),
                f"catdog, training alone{suffix}": partial(self.per_epoch, epochs, f"threads={threads}", *alone),
            }
        peers = [name for name, package in PEERS.items() if find_spec(package)]
        return contenders | {f"{name}, training alone": partial(self.epoch_of, name) for name in peers}

    def process(self) -> Contenders:
        """Compare seconds of whole processes of 100 epochs."""
        asked = f"trainer.max_epochs={EPOCHS}"
        return {
            "plain PyTorch script (computed from 2 epochs)": self.plain,
            "catdog, cache cold": lambda: self.seconds(asked, f"data.cache_dir='{self.folder()}'"),
            "catdog, cache warm": partial(self.seconds, asked),
            f"catdog, cache warm, threads={CORES}": partial(self.seconds, asked, f"threads={CORES}"),
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
        """Compare microseconds per photo and epoch, of 32 × 32 pixels."""

        def per_photo(count: int, epochs: int) -> float:
            source = "data=drawn", f"data.source.count={count}", "data.root=null", "data.image_size=32"
            self.train(*source, "trainer.max_epochs=1")  # builds the store if it is missing
            return self.per_epoch(*source, f"trainer.max_epochs={epochs}", share=1e6 / (0.8 * count))

        sizes = {"2,000 photos": (2_000, 20), "25,000 photos": (25_000, 4), "200,000 photos": (200_000, 2)}
        return {name: partial(per_photo, *size) for name, size in sizes.items()}

    def study(self) -> Contenders:
        """Compare seconds of 60 trainings: three nets × 10 and 100 epochs × ten folds."""
        return self.trainings(
            {"one run at a time": ("jobs=1", f"threads={CORES}"), "on all cores": ()}, "model.replicas=1"
        )

    def seeds(self) -> Contenders:
        """Compare seconds of 60 trainings: three nets × 10 and 100 epochs × ten seeds."""
        return self.trainings({"on all cores": ()}, "model.replicas=10", "data.fold=0")

    def trainings(self, ways: dict[str, Sequence[str]], *overrides: str) -> Contenders:
        """Compare seconds of the plain script's 60 trainings with those of a study, run in several ways."""

        def seconds(way: Sequence[str]) -> float:
            command = (sys.executable, "train.py", "study=depth_vs_epochs", *self.data, *overrides, *way)
            return run(*command, f"hydra.sweep.dir='{self.folder()}'").seconds

        plain = {"plain PyTorch script, 60 trainings (computed)": lambda: self.plain(30 * (10 + EPOCHS), 60)}
        return plain | {f"catdog, 60 trainings {name}": partial(seconds, way) for name, way in ways.items()}


def measure(section: str, contenders: Contenders, rounds: int) -> list[dict[str, Any]]:
    """Run every contender once per round; print and return rows, with the first one's value divided by each."""
    turns = [{name: contender() for name, contender in contenders.items()} for _ in range(rounds)]
    rows = []
    for name in contenders:
        values = [turn[name] for turn in turns]
        ratios = [] if section == "memory" else [next(iter(turn.values())) / turn[name] for turn in turns]
        rows.append({"section": section, "contender": name, "values": values, "ratios": ratios})
        print(f"| {section} | {name} | {_spread(values)} | {_spread(ratios)} |", flush=True)
    return rows


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the section `epoch`: every measurement as a dot, on a logarithmic axis."""
    rows = sorted((row for row in rows if row["section"] == "epoch"), key=lambda row: -median(row["values"]))
    figure = Figure((8, 0.35 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    for height, row in enumerate(rows):
        color = "tab:orange" if row["contender"].startswith("catdog") else "tab:blue"
        axes.plot(row["values"], [height] * len(row["values"]), "o", color=color, alpha=0.5)
        label = f" {median(row['values']):.2g} s"
        axes.annotate(label, (max(row["values"]), height), (6, 0), textcoords="offset points", va="center")
    axes.set(xscale="log", yticks=range(len(rows)), yticklabels=[row["contender"] for row in rows])
    axes.set_xlabel("seconds per epoch (a dot per round; median beside them)")
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.margins(x=0.15)
    return figure


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
    parser.add_argument("--rounds", type=int, default=5, help="measurements of every contender (default 5)")
    parser.add_argument("--trainer", default="auto", help="catdog's trainer configuration (default auto)")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs/benchmark", help="where benchmark.json and epoch.png go"
    )
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
        benchmark = Benchmark(photos, Path(workspace), arguments.trainer)
        print("| section | contender | median (smallest–largest) | times as fast as the first |\n|---|---|---|---|")
        rows = []
        for section in arguments.sections:
            rows += measure(section, getattr(benchmark, section)(), arguments.rounds)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    report = {"machine": machine, "rounds": arguments.rounds, "results": rows}
    (arguments.output / "benchmark.json").write_text(json.dumps(report, indent=2))
    if "epoch" in arguments.sections:
        draw(rows).savefig(arguments.output / "epoch.png", dpi=110)


if __name__ == "__main__":
    main()
