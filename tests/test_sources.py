from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catdog.data.decoding import UnreadablePhotoError
from catdog.data.sources import FolderSource
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


def test_pixels_are_pillows_antialiased_bilinear(photo_root: Path) -> None:
    source = FolderSource(photo_root)
    for index in range(0, len(source.names), 7):
        with Image.open(photo_root / source.names[index]) as photo:
            expected = np.asarray(photo.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(source.read(index, 16).pixels, expected)


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


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder at '.*nowhere'"):
        FolderSource(tmp_path / "nowhere")


def test_an_unreadable_photo_says_why(tmp_path: Path) -> None:
    make_photo(tmp_path / "a" / "1.jpg")
    make_photo(tmp_path / "b" / "1.jpg")
    (tmp_path / "a" / "1.jpg").write_bytes((tmp_path / "a" / "1.jpg").read_bytes()[:300])
    (tmp_path / "b" / "1.jpg").write_text("no photo at all")
    source = FolderSource(tmp_path)
    for index in (0, 1):
        with pytest.raises(UnreadablePhotoError, match=r"\w"):
            source.read(index, 16)
