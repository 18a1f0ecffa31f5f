import json
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def benchmark(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "scripts/lab/benchmark.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_benchmark_measures_its_contenders_in_turn(photo_root: Path, tmp_path: Path) -> None:
    done = benchmark("epoch", "--photos", str(photo_root), "--rounds", "1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "benchmark.json").read_text())["results"]
    names = [row["contender"].split(",")[0] for row in results]
    assert names == ["plain PyTorch script", "bare loop over cached tensors", "catdog", "catdog"]
    for row in results:
        assert row["ratios"] == [results[0]["values"][0] / row["values"][0]]
        assert f"| epoch | {row['contender']} |" in done.stdout


def test_an_unknown_section_gets_one_sentence() -> None:
    done = benchmark("speed")
    assert done.returncode != 0
    assert "no section speed; there are epoch, process" in done.stderr
    assert "Traceback" not in done.stderr
