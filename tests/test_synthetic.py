import numpy as np
import pytest

from catdog.data import SyntheticSource
from catdog.errors import InputError


def test_half_of_the_photos_are_cats_in_sorted_order() -> None:
    source = SyntheticSource(count=10)
    assert source.labels == [0] * 5 + [1] * 5
    assert source.names == sorted(source.names)
    assert len(set(source.names)) == 10


def test_a_photo_depends_on_seed_and_number_alone() -> None:
    few, many, other = (SyntheticSource(4, seed) for seed in (3, 3, 4))
    many.read(1, 32)  # drawing another one before changes nothing
    np.testing.assert_array_equal(few.read(2, 32), many.read(2, 32))
    assert (few.read(2, 32) != other.read(2, 32)).any()
    assert (few.read(2, 32) != few.read(3, 32)).any()


def test_photos_are_full_range_rgb_of_the_size_asked_for() -> None:
    source = SyntheticSource(count=20)
    photos = np.stack([source.read(index, 24) for index in range(20)])
    assert photos.shape == (20, 24, 24, 3)
    assert photos.dtype == np.uint8
    assert photos.min() < 30
    assert photos.max() > 225


def test_mean_cat_and_mean_dog_are_nearly_the_same_picture() -> None:
    source = SyntheticSource(count=400)
    photos = np.stack([source.read(index, 16) for index in range(400)]).astype(float)
    cat, dog = photos[:200].mean(axis=0), photos[200:].mean(axis=0)
    assert np.abs(cat - dog).mean() < 12  # grey levels; the photos themselves spread by 60
    assert photos.std(axis=0).mean() > 40


def test_one_photo_is_not_enough() -> None:
    with pytest.raises(InputError, match="data.source.count must be a whole number of at least 2, got 1"):
        SyntheticSource(count=1)
