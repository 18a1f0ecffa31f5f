"""What the first layer's units are said to do is what they do."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catdog.data import FolderSource, to_images
from catdog.errors import InputError
from catdog.inference.contributions import activations
from catdog.inference.demo_explanation import explain, read_photo
from catdog.inference.predictor import Predictor
from conftest import make_classifier
from test_hostile_photos import READABLE, png

SIZE = 6


def classifier(hidden: list[int], replicas: int, seed: int = 0) -> Predictor:
    return Predictor(make_classifier(hidden=hidden, replicas=replicas, image_size=SIZE, seed=seed))


def random_pixels(seed: int) -> torch.Tensor:
    return torch.randint(256, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@settings(max_examples=40, deadline=None)
@given(hidden=st.lists(st.integers(1, 6), max_size=3), replicas=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_votes_change_the_logit_by_what_they_say(hidden: list[int], replicas: int, seed: int) -> None:
    model, pixels = classifier(hidden, replicas, seed), random_pixels(seed)
    explanation = explain(model, pixels, most_units=1000)
    width = [*hidden, 1][0]
    assert explanation.unit_count == len(explanation.units) == replicas * width
    votes = [abs(unit.vote) for unit in explanation.units]
    assert votes == sorted(votes, reverse=True)
    assert torch.equal(explanation.probabilities, model.probabilities(pixels[None])[:, 0])
    first, *later = activations(model.classifier.network, to_images(pixels[None].float()))
    for unit in explanation.units:
        assert unit.activation == pytest.approx(first[unit.replica, 0, unit.number].item(), abs=1e-6)
        assert unit.picture.shape == (3, SIZE, SIZE)
    if len(hidden) == 1:  # there they are all of the logit but its bias
        biases = model.classifier.network.get_parameter("layers.1.bias").flatten()
        for replica, bias in enumerate(biases.tolist()):
            total = sum(unit.vote for unit in explanation.units if unit.replica == replica)
            assert total + bias == pytest.approx(later[-1][replica].item(), abs=1e-5)
    if not hidden:
        assert all(unit.vote == unit.activation for unit in explanation.units)


def test_only_the_largest_votes_are_told_with_their_own_weights() -> None:
    model, pixels = classifier([5, 4], replicas=3), random_pixels(1)
    every, few = explain(model, pixels, most_units=15), explain(model, pixels, most_units=4)
    assert [(unit.replica, unit.number, unit.vote) for unit in few.units] == [
        (unit.replica, unit.number, unit.vote) for unit in every.units[:4]
    ]
    weights = model.classifier.network.input_weights
    for unit in few.units:
        own = weights[unit.replica, unit.number].reshape(3, SIZE, SIZE)
        torch.testing.assert_close(unit.picture, 0.5 + 0.5 * own / own.abs().max())


@pytest.mark.parametrize("content", READABLE.values(), ids=READABLE)
def test_photos_are_read_as_training_reads_them(content: bytes, tmp_path: Path) -> None:
    for folder in ("cats", "dogs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").write_bytes(content)
    source = FolderSource(tmp_path)
    path = tmp_path / source.names[0]
    assert (read_photo(path, SIZE).permute(1, 2, 0).numpy() == source.read(0, SIZE)).all()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a text\n", "no JPEG, PNG, WEBP, GIF or BMP image"),
        (b"", "0 bytes; a photo has 1 to "),
        (png(20_000, 20_000, 8, 2, b""), "pixels"),  # which would take 1.2 GB
        (png(9_600, 10_400, 8, 2, b""), "."),  # below the limit, but cut off; Pillow warns of its size
    ],
)
def test_what_is_no_photo_gets_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "it.jpg").write_bytes(content)
    with pytest.raises(InputError, match=f"^'it.jpg' cannot be read as a photo: .*{sentence}"):
        read_photo(tmp_path / "it.jpg", SIZE)
