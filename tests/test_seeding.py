import torch
from hypothesis import given
from hypothesis import strategies as st

from catdog.seeding import MOST, Purpose, step_seed
from conftest import MakeData

ARGUMENTS = st.tuples(st.sampled_from(Purpose), st.integers(0, MOST), st.integers(0, 10**7))


@given(ARGUMENTS, ARGUMENTS)
def test_other_purposes_seeds_and_steps_draw_otherwise(
    one: tuple[Purpose, int, int], other: tuple[Purpose, int, int]
) -> None:
    draws = [
        torch.rand(4, generator=torch.Generator().manual_seed(step_seed(*arguments))) for arguments in (one, other)
    ]
    assert draws[0].equal(draws[1]) == (one == other)


def test_runs_of_other_seeds_see_other_views(make_data: MakeData) -> None:
    views = []
    for seed in (0, 9):
        data = make_data(augment=True, shuffle_seed=seed)
        data.setup()
        views.append(next(data.training_images(8)).clone())
    assert not views[0].allclose(views[1], atol=0.1)
