"""Sweeps and several processes on a SLURM cluster whose nodes share this folder; skipped where none answers."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import ROOT, TrainPy
from test_command import command
from test_sweep import assert_two_trained_as_one, table

SMALL = ("data.source.count=100", "data.image_size=8", "trainer.accelerator=cpu")


def responding_nodes() -> int:
    """Count the nodes of the SLURM cluster; 0 where there is none."""
    count = ["sinfo", "--noheader", "--responding", "--format=%D"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(count, capture_output=True, text=True, timeout=10, check=True)
        return sum(map(int, done.stdout.split()))
    return 0


pytest.importorskip("submitit", reason="needs hydra-submitit-launcher: pip install --editable '.[sweeps]'")
pytestmark = pytest.mark.skipif(responding_nodes() < 2, reason="needs a SLURM cluster of two nodes")


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


def test_two_nodes_train_as_one_process_does(train_py: TrainPy, tmp_path: Path) -> None:
    arguments = ("trainer.max_epochs=3", *SMALL)
    assert train_py("trainer=cpu", "hydra.run.dir=one", *arguments).status == 0
    done = subprocess.run(
        [
            "srun", "--nodes=2", "--ntasks-per-node=1", "--immediate=60", "--time=5", sys.executable,
            str(ROOT / "train.py"), "trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "hydra.run.dir=two",
            *arguments,
        ],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert_two_trained_as_one(done, tmp_path / "one", tmp_path / "two", replicas=1)
