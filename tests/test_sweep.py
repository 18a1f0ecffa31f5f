"""Sweeps as they are typed; the commands of those that are killed, or whose terminal is read, are processes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import TrainPy, start
from test_command import command
from test_training import assert_same_run

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SMALL = ("data.source.count=60", "data.image_size=8")


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "comparison.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="tells what happens where auto is the CPU")
def test_missing_accelerators_are_skipped_and_failures_are_rows(train_py: TrainPy, tmp_path: Path) -> None:
    done = train_py("-m", "model=shallow", "trainer=auto,gpu", "model.lr=0.01,1e30", "trainer.max_epochs=1", *SMALL)
    assert done.status == "catdog: 1 runs failed; the table says which, and why"
    assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "outputs/runs").iterdir()
    rows = {(row["net"], row["accelerator"]): row["status"] for row in table(sweep)}
    assert rows[("shallow (model.lr=0.01)", "cpu")] == "finished"
    assert rows[("shallow (model.lr=0.01)", "cuda")].startswith("skipped: no CUDA device")
    assert rows[("shallow (model.lr=1e+30)", "auto")].startswith("failed: val/loss of seed 0 is no longer finite")
    (failed,) = sweep.glob("*lr-1e+30*trainer-auto")
    assert "Traceback" in (failed / "train.log").read_text()
    assert len([path for path in sweep.iterdir() if path.is_dir()]) == 4


def test_the_study_rehearses_in_its_folder_and_runs_nothing_twice(train_py: TrainPy, tmp_path: Path) -> None:
    arguments = ("study=depth_vs_epochs", "trainer=smoke", "model=logistic,deep", "data.fold=0,1", "jobs=2", *SMALL)
    first = command(tmp_path, *arguments, **ASCII)
    assert first.returncode == 0, first.stderr
    assert r"\u2212" in first.stdout  # what a terminal has no letters for is shown all the same
    (study,) = tmp_path.glob("outputs/studies/depth_vs_epochs/drawn_*data.fold=0,1*trainer=smoke")
    records = {path: path.stat().st_mtime_ns for path in study.glob("*/metrics.json")}
    assert len(records) == 8  # two nets × 10 and 100 epochs × two folds
    assert {json.loads(path.read_text())["seed"] for path in records} == {1000, 1100}
    tested = [row for path in study.glob("*deep*-10_*/predictions.csv") for row in path.read_text().splitlines()[1:]]
    assert len({row.split(",")[0] for row in tested}) == len(tested) / 8 == 2 * 6  # eight replicas
    assert "100 epochs" in first.stdout
    assert "- A rehearsal: limit_train_batches or overfit_batches left out" in first.stdout
    assert "- Some runs ended before the epochs named here" in first.stdout
    assert (study / "comparison.png").is_file()
    assert "\u2212" in (study / "comparison.md").read_text(encoding="utf-8")

    (study / "comparison.md").unlink()
    second = train_py(*arguments)
    assert second.status == 0
    assert second.stderr.splitlines()[-1] == "run 8 of 8, 2 at a time"
    assert sum("finished before" in path.read_text() for path in study.glob("*/train.log")) == 8
    assert records == {path: path.stat().st_mtime_ns for path in study.glob("*/metrics.json")}
    assert (study / "comparison.md").is_file()

    (study / "grid.json").write_text('{"grid": {"model": "deep"}}')  # as if the study's file had been changed
    third = train_py(*arguments).status
    assert re.fullmatch("catdog: '.*' holds runs of another grid, see grid.json there: move it away, .*", str(third))
    assert records == {path: path.stat().st_mtime_ns for path in study.glob("*/metrics.json")}


def test_sets_that_the_photos_are_too_few_for_are_skipped(train_py: TrainPy, tmp_path: Path) -> None:
    sets = ("data.train_photos=24,null", "data.train_set=range(3)", "model.replicas=2")
    done = train_py("study=depth_vs_data", "trainer=smoke", "model=deep", "trainer.max_epochs=100", *sets, *SMALL)
    assert done.status == 0, done.stderr
    (study,) = tmp_path.glob("outputs/studies/depth_vs_data/*")
    rows = {(row["net"], row["photos"], row["status"].partition(":")[0]): row for row in table(study)}
    assert {key: row["runs"] for key, row in rows.items() if key[0] == "deep"} == {
        ("deep", "24", "finished"): "4", ("deep", "24", "skipped"): "1",
        ("deep", "48", "finished"): "2", ("deep", "48", "skipped"): "2",
    }  # fmt: skip


def test_runs_side_by_side_are_those_of_a_single_command(train_py: TrainPy, tmp_path: Path) -> None:
    """Also from a pixel store of its own; what they print is in their logs."""
    arguments = ("trainer.max_epochs=3", "trainer=cpu", "data.augment=true", "model.replicas=2", *SMALL)
    sweep = command(tmp_path, "-m", "seed=0,1,2", "jobs=2", "hydra.sweep.dir=sweep", *arguments)
    alone = train_py("seed=1", "hydra.run.dir=run", "data.cache_dir=own", *arguments)
    assert (sweep.returncode, alone.status) == (0, 0), sweep.stderr
    left = r"run 1 of 3, 2 at a time, about \d+ s left\nrun 2 of 3, 2 at a time, about \d+ s left\n"
    assert re.fullmatch(left + "run 3 of 3, 2 at a time\n", sweep.stderr)
    assert "epoch 3/3" not in sweep.stdout
    (same,), (other,) = ((tmp_path / "sweep").glob(f"*seed-{seed}*") for seed in (1, 2))
    assert "epoch 3/3" in (same / "train.log").read_text()
    assert_same_run(tmp_path / "run", same)
    assert (same / "predictions.csv").read_bytes() != (other / "predictions.csv").read_bytes()


def test_a_killed_study_leaves_no_worker_and_goes_on_where_it_was(train_py: TrainPy, tmp_path: Path) -> None:
    arguments = ["study=depth_vs_epochs", "model=shallow", "trainer.max_epochs=3,500", "data.fold=0", *SMALL]
    study = tmp_path / "outputs/studies"
    process = start(tmp_path, *arguments, "jobs=2")
    deadline = time.monotonic() + 100
    while not list(study.rglob("*-500*/checkpoints/last.ckpt")) or not list(study.rglob("*s-3/metrics.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)  # until the last process that holds its output has ended
    while not (outcomes := list(study.rglob("*-500*/outcome.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert json.loads(outcomes[0].read_text())["reason"].startswith("interrupted by SIGTERM")
    (finished,) = study.rglob("metrics.json")
    written = finished.stat().st_mtime_ns
    (checkpoint,) = study.rglob("*-500*/checkpoints/last.ckpt")
    done_epochs = len(torch.load(checkpoint, weights_only=True)["callbacks"]["RunCheckpoint"]["rows"])

    logged = len((checkpoint.parents[1] / "train.log").read_text())
    done = train_py(*arguments)
    assert done.status == 0, done.stderr
    assert finished.stat().st_mtime_ns == written
    (other,) = study.rglob("*-500*/metrics.json")
    assert [epoch["epoch"] for epoch in json.loads(other.read_text())["history"]] == list(range(1, 501))
    log = (other.parent / "train.log").read_text()[logged:]
    assert f"epoch {done_epochs + 1}/500" in log
    assert f"epoch {done_epochs}/500" not in log


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize(
    ("victim", "number", "sentence"),
    [
        ("command", signal.SIGINT, "interrupted after 0 of 2 runs; the same command runs the rest"),
        ("worker", signal.SIGKILL, "a run's process was killed; .* jobs=1 .*; the same command runs the rest"),
    ],
)
def test_a_study_ends_with_all_its_processes(tmp_path: Path, victim: str, number: int, sentence: str) -> None:
    process = start(tmp_path, "-m", "seed=0,1", "jobs=2", "trainer.max_epochs=100000", *SMALL)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [worker for child in children(process.pid) for worker in children(child)]
    os.kill(process.pid if victim == "command" else workers[0], number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(f"catdog: {sentence}", errors.splitlines()[-1])
    assert len(workers) == 2
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    reasons = [json.loads(path.read_text())["reason"] for path in tmp_path.rglob("outcome.json")]
    assert len(reasons) == (2 if victim == "command" else 1)
    assert all(reason.startswith("interrupted by SIGTERM; the same command") for reason in reasons)


def assert_two_trained_as_one(done: "subprocess.CompletedProcess[str]", one: Path, two: Path, replicas: int) -> None:
    """The same photos in every step, so the same losses; each of ten test photos once; one record."""
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("epoch ") for line in done.stdout.splitlines()) == 3
    rows = (two / "predictions.csv").read_text().splitlines()[1:]
    assert len({tuple(row.split(",")[:3]) for row in rows}) == len(rows) == replicas * 10
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (one, two))
    for own, same in zip([second, *second["replicas"]], [first, *first["replicas"]], strict=True):
        for name in ("train/loss", "val/loss", "train/acc", "val/acc"):
            expected = [epoch[name] for epoch in same["history"]]
            assert [epoch[name] for epoch in own["history"]] == pytest.approx(expected, abs=1e-6)
        assert own["test/loss"] == pytest.approx(same["test/loss"], abs=1e-6)
        assert own["test/acc"] == same["test/acc"]


def test_two_processes_train_as_one_does(train_py: TrainPy, tmp_path: Path) -> None:
    small = ("trainer.max_epochs=3", "data.source.count=100", "data.image_size=8", "model.replicas=2")
    assert train_py("trainer=cpu", "hydra.run.dir=one", *small).status == 0
    done = command(tmp_path, "trainer=ddp", "trainer.accelerator=cpu", "hydra.run.dir=two", *small)
    assert_two_trained_as_one(done, tmp_path / "one", tmp_path / "two", replicas=2)


@pytest.mark.parametrize(
    ("sweep", "sentence"),
    [
        (("data=folder", "data.root=A,B"), r"a sweep over data.root would put several jobs into one folder; .*"),
        (("study=glob(*)",), "a sweep over study would put several jobs into one folder; .*"),
        (("ckpt_path=a,b",), "a sweep over ckpt_path would put several jobs into one folder; .*"),
        (("seed=0,1", "jobs=2", "hydra/launcher=basic"), "jobs is for hydra/launcher=processes; .*"),
        (("seed=0,1", "jobs=0"), "jobs must be a whole number of at least 1, got 0"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused_before_its_first_job(
    train_py: TrainPy, tmp_path: Path, sweep: tuple[str, ...], sentence: str
) -> None:
    done = train_py("-m", *sweep, "trainer.max_epochs=1")
    assert re.fullmatch(f"catdog: {sentence}", str(done.status))
    assert not list(tmp_path.rglob("outcome.json"))


@pytest.mark.filterwarnings("ignore")  # Optuna's
def test_a_search_goes_on_after_a_trial_that_failed(train_py: TrainPy, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ("study=widths", "hydra.sweeper.n_trials=6", "model.lr=choice(0.01,1e30)")
    done = train_py(*search, "trainer=cpu", "trainer.max_epochs=2", *SMALL)
    assert re.fullmatch("catdog: . runs failed; the table says which, and why", str(done.status))
    assert "Traceback" not in done.stderr
    statuses = [row["status"].split(":")[0] for row in table(next(tmp_path.glob("outputs/studies/widths/*")))]
    assert sorted(set(statuses)) == ["failed", "finished"]
