"""Seeds for what is drawn anew in every step, so that each depends on nothing but what it is for, run and step."""

from enum import IntEnum

from numpy.random import SeedSequence

MOST = 2**31 - 1  # of a seed in the configuration: PyTorch's generators take 32 bits of one, and drop the rest


class Purpose(IntEnum):
    """What the draws are for; each has its own."""

    VIEWS = 0
    FEATURES = 1
    DROPOUT = 2


def step_seed(purpose: Purpose, seed: int, step: int) -> int:
    """A seed for PyTorch's generators, of 32 bits; other arguments give others, as good as independent."""
    return int(SeedSequence([purpose, seed, step]).generate_state(1)[0])
