"""Measure catdog's speed: `python scripts/benchmark.py [SECTION …]`, times as ratios to others that do the same work.

Every contender is a process of its own. In every round each has its turn, so that a machine that slows down slows
all of them; given are medians over the rounds, with the smallest and the largest value. Sections:

  epoch     seconds per epoch with validation: plain PyTorch, a bare loop over cached tensors, catdog; --peers adds more
  process   `train.py` for 100 epochs, whole process, cache cold and warm, against the plain script's 100 epochs
  start     --help, the imports alone, a run of one epoch; decoding all photos
  replicas  seconds per epoch and net with 1, 10, 16 and 64 replicas
  study     depth_vs_epochs with ten replicas on one fold, against the plain script's 60 trainings (takes minutes)
  folds     depth_vs_epochs as it is, 60 runs in one process, against the same (takes a quarter of an hour)
  scale     25,000 drawn photos against 2,000: time per photo, memory
  machine   matrix products and memory, and what they allow at best
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CONTENDERS = ROOT / "scripts/contenders.py"
SECTIONS = ("epoch", "process", "start", "replicas", "study", "folds", "scale", "machine")
QUICK = ("epoch", "process", "start", "replicas", "machine")
PEERS = ("scikit-learn", "keras")
EPOCHS = 100


@dataclass(frozen=True)
class Process:
    """A finished process: wall time in seconds, and memory in MB with the page cache (peak) and beside it (own)."""

    seconds: float
    peak: float
    own: float
    output: str


def run(*command: str | Path) -> Process:
    """Run a command from the project's root.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        own: list[int] = [0]
        watcher = threading.Thread(target=lambda: own.extend(_own_memory(process)))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"benchmark: {' '.join(map(str, command))} failed\n{text}")
    return Process(seconds, usage.ru_maxrss / 1024, max(own) / 1024, text)


def _own_memory(process: "subprocess.Popen[bytes]") -> Iterator[int]:
    """A process's memory that is not the page cache's, in KB, ten times a second until it ends; Linux only."""
    while process.returncode is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return
        yield sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
        time.sleep(0.1)


class Benchmark:
    """The contenders on one folder of photos, and what was measured so far.

    Args:
        photos: a folder with two class sub-folders.
        workspace: where stores and runs are kept while measuring.
        rounds: how often each contender has its turn.
        trainer: catdog's trainer configuration, such as cpu or gpu.
    """

    def __init__(self, photos: Path, workspace: Path, rounds: int, trainer: str) -> None:
        self.photos, self.workspace, self.rounds, self.trainer = photos, workspace, rounds, trainer
        self.results: list[dict[str, Any]] = []

    def measure(self, section: str, contenders: Mapping[str, Callable[[], float]], base: str | None, unit: str) -> None:
        """Give every contender its turn in every round; ratios are of the base to each, round by round."""
        values: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(self.rounds):
            for name, contender in contenders.items():
                values[name].append(contender())
        for name in contenders:
            ratios = [b / v for b, v in zip(values[base or name], values[name], strict=True)]
            row = {"section": section, "contender": name, "unit": unit, "values": values[name]}
            self.results.append(row | {"ratios": ratios if base else []})
            print(_line(self.results[-1]), flush=True)

    def train(self, *overrides: str, cold: bool = False) -> tuple[Process, dict[str, Any]]:
        """One run of `train.py` on the photos, with its record."""
        folder = Path(tempfile.mkdtemp(dir=self.workspace))
        cache = folder / "cache" if cold else self.workspace / "cache"
        process = run(
            sys.executable, "train.py", "data=folder", f"data.root='{self.photos}'", f"data.cache_dir='{cache}'",
            f"trainer={self.trainer}", f"hydra.run.dir='{folder}'", *overrides,
        )  # fmt: skip
        return process, json.loads((folder / "metrics.json").read_text())

    def fill_cache(self) -> None:
        """Have the photos decoded, so that the first round's warm cache is one, whatever section comes first."""
        self.train("trainer.max_epochs=1")

    def contender(self, name: str, epochs: int) -> dict[str, float]:
        """Another contender's own account, in seconds: medians over its epochs, and all that is not epochs."""
        process = run(sys.executable, CONTENDERS, name, self.photos, str(epochs))
        account: dict[str, float] = json.loads(process.output.splitlines()[-1])
        return account | {"start": process.seconds - epochs * sum(account.values())}

    def epoch_of(self, name: str, epochs: int = 5) -> float:
        """Seconds of another contender's epoch, with validation where it has one."""
        account = self.contender(name, epochs)
        return account["train"] + account.get("validate", 0.0)

    def epoch(self, peers: bool) -> None:
        """Seconds per epoch: training and validation, the peers training alone."""
        contenders: dict[str, Callable[[], float]] = {
            "plain PyTorch script, decodes every epoch": partial(self.epoch_of, "plain", 2),
            "bare loop over cached tensors": partial(self.epoch_of, "bare", 20),
            "catdog, with all that it records": lambda: self.train("trainer.max_epochs=20")[1]["seconds_per_epoch"],
            "catdog, training alone": lambda: self.train(
                "trainer.max_epochs=20", "trainer.limit_val_batches=0", "test_weights=last"
            )[1]["seconds_per_epoch"],
        }
        for peer in PEERS if peers else ():
            if find_spec({"scikit-learn": "sklearn"}.get(peer, peer)) is None:
                print(f"{peer} is not installed, so it is left out")
            else:
                contenders[peer] = partial(self.epoch_of, peer)
        self.measure("epoch", contenders, next(iter(contenders)), "s")

    def plain(self, epochs: int = EPOCHS, trainings: int = 1) -> float:
        """Seconds that the plain script takes, computed from its start and two of its epochs."""
        account = self.contender("plain", 2)
        return trainings * account["start"] + epochs * (account["train"] + account["validate"])

    def process(self) -> None:
        """Whole processes of 100 epochs."""
        self.fill_cache()
        asked = f"trainer.max_epochs={EPOCHS}"
        contenders: dict[str, Callable[[], float]] = {
            "plain PyTorch script (computed from 2 epochs)": self.plain,
            "catdog, cache cold": lambda: self.train(asked, cold=True)[0].seconds,
            "catdog, cache warm": lambda: self.train(asked)[0].seconds,
        }
        self.measure("process", contenders, next(iter(contenders)), "s")
        self.measure("memory", {"catdog, peak": lambda: self.train("trainer.max_epochs=5")[0].peak}, None, "MB")

    def start(self) -> None:
        """Time what comes before the first epoch."""
        self.fill_cache()
        imports = "import lightning, torchvision"
        contenders: dict[str, Callable[[], float]] = {
            f'python -c "{imports}"': lambda: run(sys.executable, "-c", imports).seconds,
            "train.py, 1 epoch, cache warm": lambda: self.train("trainer.max_epochs=1")[0].seconds,
            "train.py --help": lambda: run(sys.executable, "train.py", "--help").seconds,
            "decoding all photos": partial(self.epoch_of, "decode"),
        }
        self.measure("start", contenders, next(iter(contenders)), "s")

    def replicas(self) -> None:
        """Seconds per epoch and net."""

        def seconds(count: int, epochs: int) -> Callable[[], float]:
            overrides = f"model.replicas={count}", f"trainer.max_epochs={epochs}"
            return lambda: self.train(*overrides)[1]["seconds_per_epoch"] / count

        contenders = {
            f"{count} replicas": seconds(count, epochs) for count, epochs in ((1, 20), (10, 6), (16, 6), (64, 3))
        }
        self.measure("replicas", contenders, "1 replicas", "s")

    def _study(self, *overrides: str) -> float:
        folder = tempfile.mkdtemp(dir=self.workspace)
        return run(
            sys.executable, "train.py", "study=depth_vs_epochs", "data=folder", f"data.root='{self.photos}'",
            f"data.cache_dir='{self.workspace / 'cache'}'", f"hydra.sweep.dir='{folder}'", *overrides,
        ).seconds  # fmt: skip

    def study(self) -> None:
        """60 trainings: three nets × 10 and 100 epochs × ten seeds."""
        contenders = {
            "plain PyTorch script, 60 trainings (computed)": lambda: self.plain(30 * (10 + EPOCHS), 60),
            "catdog, 6 runs of 10 replicas": lambda: self._study("model.replicas=10", "data.fold=0"),
        }
        self.measure("study", contenders, next(iter(contenders)), "s")

    def folds(self) -> None:
        """60 trainings: three nets × 10 and 100 epochs × ten folds."""
        contenders = {
            "plain PyTorch script, 60 trainings (computed)": lambda: self.plain(30 * (10 + EPOCHS), 60),
            "catdog, 60 single runs in one process": self._study,
        }
        self.measure("folds", contenders, next(iter(contenders)), "s")

    def scale(self) -> None:
        """Microseconds per photo, and memory."""
        memory: dict[str, list[float]] = {}

        def per_photo(count: int, epochs: int) -> float:
            source = "data=drawn", f"data.source.count={count}", "data.root=null", f"trainer.max_epochs={epochs}"
            process, record = self.train(*source)
            memory.setdefault(f"{count:,} photos, beside the page cache", []).append(process.own)
            return record["seconds_per_epoch"] / record["photos"]["train"] * 1e6

        counts = {2_000: 20, 25_000: 4}
        for count in counts:
            per_photo(count, 1)  # draws them
        memory.clear()
        contenders = {f"{count:,} photos": partial(per_photo, count, epochs) for count, epochs in counts.items()}
        self.measure("scale", contenders, "2,000 photos", "µs per photo")
        for name, values in memory.items():
            self.results.append({"section": "memory", "contender": name, "unit": "MB", "values": values, "ratios": []})
            print(_line(self.results[-1]))

    def machine(self) -> None:
        """Measure the machine, and so the least time that an epoch could take."""
        rates = [self.contender("machine", 1) for _ in range(self.rounds)]
        for name, unit in (("gemm", "GFLOP/s"), ("memory", "GB/s"), ("first layer", "ms"), ("its gradient", "ms")):
            row = {"section": "machine", "contender": name, "unit": unit, "values": [rate[name] for rate in rates]}
            self.results.append(row | {"ratios": []})
            print(_line(self.results[-1]))


def _line(row: dict[str, Any]) -> str:
    text = f"| {row['section']} | {row['contender']} | {_spread(row['values'])} {row['unit']} |"
    return text + (f" {_spread(row['ratios'])} × |" if row["ratios"] else " |")


def _spread(values: list[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def draw_photos(folder: Path, count: int = 2000) -> Path:
    """A folder of drawn photos as JPEG files, about as large as photos from the web."""
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
    """Read the command line, measure, print a table and leave it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", metavar="SECTION", nargs="*", default=QUICK, help=f"default: {' '.join(QUICK)}")
    parser.add_argument("--photos", type=Path, help="a folder with two class sub-folders; 2,000 are drawn by default")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contender (default 3)")
    parser.add_argument(
        "--trainer", default="auto", help="catdog's trainer configuration: auto, cpu, gpu … (default auto)"
    )
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
    photos = (arguments.photos or draw_photos(arguments.output / "photos")).resolve()
    with tempfile.TemporaryDirectory(dir=arguments.output) as workspace:
        benchmark = Benchmark(photos, Path(workspace), arguments.rounds, arguments.trainer)
        print("| section | what | median (smallest–largest) | times as fast as the first |\n|---|---|---|---|")
        for section in arguments.sections:
            getattr(benchmark, section)(*([arguments.peers] if section == "epoch" else []))
    machine_name = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    report = {"machine": machine_name, "rounds": arguments.rounds, "results": benchmark.results}
    (arguments.output / "benchmark.json").write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
