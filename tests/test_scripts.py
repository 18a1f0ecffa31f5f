"""The learner's scripts and the benchmark as they are typed, with small sizes."""

import shutil
from pathlib import Path

import pytest

from conftest import Script


def test_the_hand_written_net_and_lightnings_have_the_same_losses(
    script: Script, tmp_path: Path, photo_root: Path
) -> None:
    shutil.copytree(photo_root, tmp_path / "photos")
    for name in ("cats", "dogs"):  # twice, for two batches, so that their order matters
        shutil.copytree(photo_root / name, tmp_path / "photos" / name / "again")
    options = ("--photos", "photos", "--image-size", "16", "--epochs", "3", "--hidden", "6", "4")
    done = script("scripts/numpy_lesson.py", *options)
    assert (done.status, done.stderr) == (0, "")
    title, *lines = done.stdout.splitlines()
    assert title == "768 → 6 → 4 → 1 on 64 photos"
    epochs = [[float(number) for number in line.split()] for line in lines if line.strip()[:1].isdigit()]
    assert [number for number, *_ in epochs] == [1, 2, 3]
    for _, by_hand, lightning, val_by_hand, val_lightning in epochs:
        assert abs(by_hand - lightning) < 1e-6
        assert abs(val_by_hand - val_lightning) < 1e-6
    assert len({losses[1] for losses in epochs}) == 3  # something was learnt
    for name in ("network", "losses"):
        assert (tmp_path / f"outputs/numpy_lesson/{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("hidden", [["4", "3"], []])
def test_vectorization_names_six_loops_and_finds_equal_results_without_three(
    script: Script, tmp_path: Path, hidden: list[str]
) -> None:
    options = ("--image-size", "6", "--batch-size", "5", "--seconds", "0", "--hidden", *hidden)
    done = script("scripts/vectorization.py", *options)
    assert (done.status, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    answers = {row[0]: row[3].split(":")[0] for row in table[:8] if row[3].startswith(("yes", "no"))}
    assert answers == dict.fromkeys(["epoch", "batch", "layer"], "no") | dict.fromkeys(
        ["sample", "neuron", "feature"], "yes"
    )
    assert [row[2] for row in table if row[0] == "layer"] == [str(len(hidden) + 1)]
    assert [row[0] for row in table[-4:]] == ["sample, neuron, feature", "sample, neuron", "sample", "none"]
    assert "loss and gradients agree to 1e-12" in done.stdout
    assert (tmp_path / "outputs/vectorization.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("numpy_lesson.py --epochs 0", "--epochs must be a whole number of at least 1, got 0"),
        ("vectorization.py --hidden 4 0", "every width of --hidden must be a whole number of at least 1, got 0"),
        ("lab/benchmark.py speed", "no section speed; there are epoch, process"),
    ],
)
def test_bad_input_is_one_sentence(script: Script, command: str, sentence: str) -> None:
    done = script(*f"scripts/{command}".split())
    assert done.status != 0
    assert sentence in (done.stderr or str(done.status)).splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
