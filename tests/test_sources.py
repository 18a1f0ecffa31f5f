"""Sources of photos: a folder of one's own, and drawn ones. The published sets are in test_download.py."""

from pathlib import Path

import numpy as np
import pytest

from catdog.data import FolderSource, SyntheticSource
from catdog.errors import InputError

PHOTOS = ["a/b.jpeg", "a/c.bmp", "a/sub/d.GIF", "a/z.webp", "b/2.JPG", "b/sub/1.png"]
IGNORED = [
    "a/.hidden.jpg", "a/._1.jpg", "a/Thumbs.db", "a/notes.txt", "a/jpg", "a/__MACOSX/1.jpg", "b/.git/1.jpg",
    "b/@eaDir/1.jpg", "__MACOSX/1.jpg", ".git/1.jpg", "in-no-class.jpg",
]  # fmt: skip


def test_a_folder_gives_sorted_names_with_their_labels_and_ignores_what_is_no_photo(tmp_path: Path) -> None:
    for name in PHOTOS[::-1] + IGNORED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = FolderSource(tmp_path)
    assert source.class_names == ("a", "b")
    assert source.names == PHOTOS
    assert source.labels == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        (None, "no folder at '.*photos'"),
        ([], "exactly two class sub-folders, found 0: none"),
        (["birds", "cats", "dogs"], "found 3: 'birds', 'cats', 'dogs'"),
        (["cats", "dogs"], "cats' has no photo"),
    ],
)
def test_a_folder_that_is_not_two_classes_is_refused(tmp_path: Path, folders: list[str] | None, sentence: str) -> None:
    for name in [] if folders is None else ["", *folders]:
        (tmp_path / "photos" / name).mkdir()
    with pytest.raises(InputError, match=f"data.root.*{sentence}"):
        FolderSource(tmp_path / "photos")


def test_a_drawn_photo_depends_on_seed_and_number_alone() -> None:
    few, many, other = SyntheticSource(4, 3), SyntheticSource(6, 3), SyntheticSource(4, 4)
    many.read(1, 32)  # drawing another one before changes nothing
    np.testing.assert_array_equal(few.read(1, 32), many.read(1, 32))
    assert (few.read(1, 32) != other.read(1, 32)).any()
    assert (few.read(1, 32) != few.read(0, 32)).any()


def test_drawn_cats_and_dogs_differ_in_shape_and_not_on_average() -> None:
    source = SyntheticSource(count=400)
    assert source.names == sorted(set(source.names))
    assert source.labels == [0] * 200 + [1] * 200
    photos = np.stack([source.read(index, 16) for index in range(400)])
    assert photos.dtype == np.uint8
    assert photos.shape == (400, 16, 16, 3)
    cat, dog = photos[:200].mean(axis=0), photos[200:].mean(axis=0)
    assert np.abs(cat - dog).mean() < 12  # grey levels
    assert photos.std(axis=0).mean() > 40  # of the photos themselves
