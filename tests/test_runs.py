"""Records of strangers: data that is checked, and nothing that is run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from catdog.data import FolderSource, SyntheticSource
from catdog.errors import InputError
from catdog.inference.runs import FinishedRun, build_data
from conftest import RunOf

HANDLER = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
SYNTHETIC = {"_target_": "catdog.data.SyntheticSource", "count": 20, "seed": 3}
FOLDER = {"_target_": "catdog.data.FolderSource", "_partial_": True}
COMMAND = "touch executed"  # in the working directory
ATTACK = {"_target_": "os.system", "command": COMMAND}
PROCESS: dict[str, Any] = {
    "_target_": HANDLER, "entrypoint": "touch", "args": ["executed"], "env": {}, "stdout": None, "stderr": None,
    "local_rank_id": 0,
}  # fmt: skip


def data_of(**changes: Any) -> dict[str, Any]:
    return {"_target_": "catdog.data.CatDogDataModule", "source": SYNTHETIC, "image_size": 8, "fold": 2} | changes


def test_the_photos_of_a_record_are_built_from_plain_values(photo_root: Path) -> None:
    data = build_data(data_of())
    assert isinstance(data.source, SyntheticSource)
    assert (len(data.source.names), data.source.seed, data.image_size, data.fold) == (20, 3, 8, 2)
    data = build_data(data_of(source=FOLDER, root=str(photo_root)))
    assert isinstance(data.source, FolderSource)
    assert len(data.source.names) == 40


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"_target_": "os.system", "command": COMMAND}, "data must have a _target_ of catdog.data.CatDogDataModule"),
        (PROCESS, "data must have a _target_ of"),
        ({"_target_": ["catdog.data.CatDogDataModule"]}, "data must have a _target_ of"),
        ({"source": ATTACK}, r"data.source must have a _target_ of catdog.data.FolderSource, .*'os.system'"),
        ({"source": PROCESS}, rf"data.source must have a _target_ of .*{HANDLER}"),
        ({"source": [SYNTHETIC]}, "data.source must have a _target_ of .*, got \\["),
        ({"source": "catdog.data.SyntheticSource"}, "data.source must have a _target_ of"),
        ({"source": SYNTHETIC | {"seed": ATTACK}}, "data.source.seed must be a plain value, got {'_target_': 'os.sys"),
        ({"source": FOLDER | {"_partial_": PROCESS}}, "data.source._partial_ must be a plain value"),
        ({"source": FOLDER | {"root": "/"}}, "data.source has a key that is not known, 'root'"),
        ({"source": SYNTHETIC | {"_args_": [ATTACK]}}, "data.source has a key that is not known, '_args_'"),
        ({"source": SYNTHETIC | {"count": "many"}}, "data.source.count must be a whole number"),
        ({"root": ATTACK}, "data.root must be a plain value"),
        ({"cache_dir": [PROCESS]}, "data.cache_dir must be a plain value"),
        ({"cache_dir": [[{"deep": [ATTACK]}]]}, "data.cache_dir must be a plain value"),
        ({"cache_dir": "${oc.env:HOME}"}, r"data.cache_dir must be a plain value, got '\${oc.env:HOME}'"),
        ({"fold": "${seed}"}, "data.fold must be a plain value"),
        ({"_convert_": "object"}, "data has a key that is not known, '_convert_'"),
        ({"colour\n": "red"}, r"data has a key that is not known, 'colour\\n'"),
        ({"image_size": "8"}, "data.image_size must be a whole number of at least 1, got '8'"),
        ({"image_size": None}, "data.image_size must be a whole number"),
        ({"augment": "yes"}, "data.augment must be true or false"),
        ({"root": 7}, "data.root must be a path, got 7"),
    ],
)  # fmt: skip
def test_a_record_that_asks_for_more_is_refused_and_nothing_is_run(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record = json.loads((run_of(1) / "metrics.json").read_text())
    record["config"]["data"] = data_of(**changes)
    Path("metrics.json").write_text(json.dumps(record))
    Path("identity.json").write_text(json.dumps({"photos": ATTACK}))
    with pytest.raises(InputError, match=f"^the photos of '.*' cannot be had: {sentence}") as refusal:
        FinishedRun.open(tmp_path).data()
    assert len(str(refusal.value).splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity.json", "metrics.json"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), []),
        ((), "finished"),
        (("config",), "data"),
        (("config",), [["data"]]),
        (("config", "data"), "drawn"),
        (("config", "test_weights"), "../../elsewhere"),
        (("replicas",), {"seed": 0}),
        (("replicas",), []),
        (("replicas", 0), "seed"),
        (("replicas", 0, "test/acc"), "high"),
        (("replicas", 0, "test/acc_interval"), ["low", "high"]),
        (("photos",), [48, 6, 6]),
        (("versions",), None),
        (("net",), ["deep"]),
    ],
)
def test_a_record_of_another_form_is_no_finished_run(
    run_of: RunOf, tmp_path: Path, place: tuple[str | int, ...], value: Any
) -> None:
    record = [json.loads((run_of(1) / "metrics.json").read_text())]
    *path, last = (0, *place)
    node: Any = record
    for key in path:
        node = node[key]
    node[last] = value
    (tmp_path / "metrics.json").write_text(json.dumps(record[0]))
    with pytest.raises(InputError, match="^'.*' holds no finished run: its metrics.json is missing, or no record"):
        FinishedRun.open(tmp_path)


def test_json_without_end_is_no_finished_run(run_of: RunOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    (folder / "identity.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="lacks its identity.json"):
        FinishedRun.open(folder).data()
    (folder / "metrics.json").write_text('{"config":' * 100_000)
    with pytest.raises(InputError, match="holds no finished run"):
        FinishedRun.open(folder)
