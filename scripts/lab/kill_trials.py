"""Kill runs at random moments, resume them, and compare the results with those of an uninterrupted run.

    python scripts/lab/kill_trials.py runs 40 data=folder data.root=PATH     # number of signals, overrides of the run
    python scripts/lab/kill_trials.py study 10 data=folder data.root=PATH
    python scripts/lab/kill_trials.py store 50 data=folder data.root=PATH

`runs` trains once without interruption, with augmentation and replicas. It then repeats the run, interrupted at random
moments by SIGKILL, SIGTERM, SIGINT or SIGUSR1 and resumed in its folder; all must end with the first run's weights, bit
for bit. `study` trains four runs one after the other, then side by side, while such signals go to any process of the
study: all its processes must end, and the study, resumed, with the same weights. `store` kills runs by SIGKILL while
they decode the photos; the store that the next run finds or builds must hold the pixels of one built without
interruption.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
RUN = ("trainer=cpu", "trainer.max_epochs=40", "model=shallow", "model.replicas=3", "data.augment=true")
STUDY = ("hydra.mode=MULTIRUN", "model=shallow,deep", "seed=0,1")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def start(folder: Path, overrides: list[str]) -> "subprocess.Popen[bytes]":
    """Start a run or study in `folder`, in a process group of its own."""
    folders = (f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}")
    command = [sys.executable, str(ROOT / "train.py"), *RUN, *folders, *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def end_at_random(process: "subprocess.Popen[bytes]", number: int, latest: float, rng: random.Random) -> bool:
    """Send the signal within `latest` seconds; return whether the process was still running."""
    time.sleep(rng.uniform(0, latest))
    running = process.poll() is None
    process.send_signal(number)
    process.wait(60)
    return running


def kill_runs(kills: int, folder: Path, overrides: list[str], rng: random.Random) -> bool:
    """Interrupt and resume runs; return whether all ended with the weights of the uninterrupted one."""
    overrides = [f"data.cache_dir={folder / 'cache'}", *overrides]
    started = time.perf_counter()
    assert start(folder / "whole", overrides).wait() == 0, "the run fails without being killed"
    seconds = time.perf_counter() - started
    sent: Counter[str] = Counter()
    left: Counter[str] = Counter()
    finished = equal = 0
    while sent.total() < kills:
        run = folder / f"run-{finished}"
        number = rng.choice(SIGNALS)
        if end_at_random(start(run, overrides), number, seconds, rng):
            sent[number.name] += 1
            left["last.ckpt" if (run / "checkpoints/last.ckpt").exists() else "no checkpoint yet"] += 1
            if rng.random() < 0.5:  # it is interrupted once more after it resumes
                continue
        assert start(run, overrides).wait() == 0, f"{run} cannot be resumed"
        equal += same_weights(folder / "whole", run)
        finished += 1
        print(f"{sent.total()} signals, {finished} runs finished, {equal} of them equal", flush=True)
    print(f"signals {dict(sent)}, after them {dict(left)}; {equal} of {finished} runs equal the one never killed")
    return equal == finished


def kill_studies(kills: int, folder: Path, overrides: list[str], rng: random.Random) -> bool:
    """Kill processes of studies; return whether all ended with the weights of the serial one, and none was left."""
    overrides = [f"data.cache_dir={folder / 'cache'}", *overrides, *STUDY]
    started = time.perf_counter()
    assert start(folder / "whole", [*overrides, "jobs=1"]).wait() == 0, "the study fails without being killed"
    seconds = time.perf_counter() - started
    sent: Counter[str] = Counter()
    studies = equal = left = 0
    finished = False
    while sent.total() < kills or not finished:
        study = folder / f"study-{studies}"
        process = start(study, [*overrides, "jobs=2"])
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(1, seconds * 0.45) if sent.total() < kills else None)
        if process.poll() is None:
            victim, number = rng.choice(group(process)), rng.choice(SIGNALS)
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(victim, number)
                sent[f"{number.name} to the {'command' if victim == process.pid else 'others'}"] += 1
        finished = process.wait(600) == 0
        deadline = time.monotonic() + 30
        while group(process) and time.monotonic() < deadline:
            time.sleep(0.1)
        left += len(group(process))
        if finished:
            runs = [path.name for path in (folder / "whole").iterdir() if path.is_dir()]
            equal += all(same_weights(folder / "whole" / run, study / run) for run in runs)
            studies += 1
        print(f"{sent.total()} signals, {studies} studies finished, {equal} of them equal", flush=True)
    print(f"signals {dict(sent)}; {equal} of {studies} studies equal the serial one, {left} processes left")
    return equal == studies and not left


def group(process: "subprocess.Popen[bytes]") -> list[int]:
    """List the processes of a process's group."""
    listed = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=False)
    return list(map(int, listed.stdout.split()))


def same_weights(one: Path, other: Path) -> bool:
    """Compare two runs' last and best weights and their predictions, bit for bit."""
    for name in ("last.ckpt", "best.ckpt"):
        left, right = (torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"] for run in (one, other))
        if not all(left[key].equal(right[key]) for key in left):
            return False
    return (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


def kill_builds(kills: int, folder: Path, overrides: list[str], rng: random.Random) -> bool:
    """Kill builds of the store; return whether the next run always left the right pixels."""
    short = [*overrides, "trainer.max_epochs=1", "model.replicas=1"]
    assert start(folder / "whole", [*short, f"data.cache_dir={folder / 'whole-cache'}"]).wait() == 0, "fails unkilled"
    whole = checksum(folder / "whole-cache")
    outcomes: Counter[str] = Counter()
    cache = folder / "cache"
    for kill in range(kills):
        process = start(folder / f"run-{kill}", [*short, f"data.cache_dir={cache}"])
        while not list(cache.glob(".*")) and process.poll() is None:  # until the build has begun
            time.sleep(0.002)
        end_at_random(process, signal.SIGKILL, 3.0, rng)
        found = "whole store" if list(cache.glob("[!.]*")) else "none"
        done = start(folder / f"run-{kill}", [*short, f"data.cache_dir={cache}"]).wait() == 0
        right = done and checksum(cache) == whole and not [path for path in cache.glob(".*") if path.is_dir()]
        outcomes[f"{found} left, then {'right' if right else 'WRONG'}"] += 1
        shutil.rmtree(cache)
    print(f"{kills} kills: {dict(outcomes)}")
    return not any("WRONG" in outcome for outcome in outcomes)


def checksum(cache: Path) -> int:
    """Compute the checksum of the pixels of the only store in the cache."""
    (pixels,) = cache.glob("[!.]*/pixels.u8")
    return zlib.crc32(pixels.read_bytes())


TRIALS = {"runs": kill_runs, "study": kill_studies, "store": kill_builds}


def main() -> None:
    """Read the command line, run the trials, exit with failure if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(TRIALS))
    parser.add_argument("kills", type=int)
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    parser.add_argument("--folder", type=Path, default=Path("outputs/kill_trials"), help="emptied first")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    passed = TRIALS[arguments.what](
        arguments.kills, arguments.folder.resolve(), arguments.overrides, random.Random(arguments.seed)
    )
    sys.exit(not passed)


if __name__ == "__main__":
    main()
