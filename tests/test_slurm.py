"""Sweeps and several processes on a SLURM cluster whose nodes share this folder; skipped where none answers."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from test_command import command
from test_sweep import table

SMALL = ("data.source.count=100", "data.image_size=8", "trainer.accelerator=cpu")


def missing() -> str:
    """Why these tests cannot be run here; empty where they can."""
    if importlib.util.find_spec("submitit") is None:
        return "needs hydra-submitit-launcher: pip install --editable '.[sweeps]'"
    if shutil.which("sinfo") is None:
        return "needs SLURM: no sinfo on the PATH"
    try:
        nodes = subprocess.run(
            ["sinfo", "--noheader", "--responding", "--format=%D"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.split()  # fmt: skip
    except subprocess.SubprocessError:
        return "needs SLURM: sinfo finds no cluster"
    return "" if sum(map(int, nodes)) > 1 else "needs a SLURM cluster of two nodes"


WHY_NOT = missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def test_a_study_runs_as_slurm_jobs_and_runs_nothing_twice(tmp_path: Path) -> None:
    """With our launcher configuration, then with Hydra's own; a run that fails is a row."""
    arguments = ("study=depth_vs_epochs", "model=shallow", "data.fold=0", "trainer.max_epochs=2", *SMALL)
    rate = "model.lr=0.01,1e30"
    written = []
    for launcher in ("slurm", "submitit_slurm"):
        done = command(tmp_path, *arguments, rate, f"hydra/launcher={launcher}", "hydra.launcher.timeout_min=5")
        assert done.returncode == 1, done.stderr
        assert "1 runs failed" in done.stderr
        (study,) = tmp_path.glob("outputs/studies/depth_vs_epochs/*")
        rows = {row["net"]: row["status"] for row in table(study)}
        assert rows.pop("shallow (model.lr=0.01)") == "finished"
        (reason,) = rows.values()
        assert reason.startswith("failed: val/loss of seed 1000 is no longer finite")
        assert len([path for path in study.iterdir() if path.is_dir() and path.name != ".submitit"]) == 2
        (record,) = study.glob("*lr-0.01_model-shallow_accelerator-cpu_epochs-2/metrics.json")
        written.append(record.stat().st_mtime_ns)
    assert len(set(written)) == 1
    assert sum("finished before" in path.read_text() for path in study.glob(".submitit/*/*.out")) == 1


def test_two_nodes_train_as_one_process_does(tmp_path: Path) -> None:
    """The same photos in every step, so the same losses; each test photo once; one record."""
    arguments = ("trainer.max_epochs=3", *SMALL)
    one, two = tmp_path / "one", tmp_path / "two"
    done = command(tmp_path, "trainer=cpu", f"hydra.run.dir={one}", *arguments)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [
            "srun", "--nodes=2", "--ntasks-per-node=1", "--immediate=60", "--time=5", sys.executable,
            str(ROOT / "train.py"), "trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", f"hydra.run.dir={two}",
            *arguments,
        ],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("epoch ") for line in done.stdout.splitlines()) == 3
    rows = (two / "predictions.csv").read_text().splitlines()[1:]
    assert len({row.split(",")[0] for row in rows}) == len(rows) == 10
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (one, two))
    for name in ("train/loss", "val/loss", "train/acc", "val/acc"):
        expected = [epoch[name] for epoch in first["history"]]
        assert [epoch[name] for epoch in second["history"]] == pytest.approx(expected, abs=1e-6)
    assert second["test/loss"] == pytest.approx(first["test/loss"], abs=1e-6)
