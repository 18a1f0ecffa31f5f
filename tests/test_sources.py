from pathlib import Path

import pytest
from PIL import Image

from catdog.data import FolderSource
from catdog.errors import InputError


def make_photo(path: Path, color: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), color).save(path)


def test_a_folder_gives_sorted_names_with_their_labels(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/sub/1.png", "a/z.webp", "a/c.bmp", "a/b.jpeg", "b/.hidden.jpg", ".git/x.jpg"):
        make_photo(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("not a photo")
    (tmp_path / "readme.jpg").write_text("not in a class folder")

    source = FolderSource(tmp_path)

    assert source.class_names == ("a", "b")
    assert source.names == ["a/b.jpeg", "a/c.bmp", "a/z.webp", "b/2.JPG", "b/sub/1.png"]
    assert source.labels == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        ([], "exactly two class sub-folders, found 0: none"),
        (["cats"], "exactly two class sub-folders, found 1: 'cats'"),
        (["birds", "cats", "dogs"], "found 3: 'birds', 'cats', 'dogs'"),
        (["cats", "dogs"], "cats' has no photo"),
    ],
)
def test_a_folder_that_is_not_two_classes_is_refused(tmp_path: Path, folders: list[str], sentence: str) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=sentence):
        FolderSource(tmp_path)


@pytest.mark.parametrize(("root", "sentence"), [("nowhere", "no folder at '.*nowhere'"), (None, "must be given")])
def test_a_missing_folder_is_refused(tmp_path: Path, root: str | None, sentence: str) -> None:
    with pytest.raises(InputError, match=f"data.root.*{sentence}"):
        FolderSource(root and tmp_path / root)
