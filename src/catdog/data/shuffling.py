"""An order of the training photos that keeps reads local, for stores that do not fit into memory."""

from collections.abc import Iterator
from itertools import cycle, islice

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler


class LocalShuffle(DistributedSampler[int]):
    """Another order in every epoch, from (seed, epoch) alone, in which near photos are near in the file too.

    Blocks of neighbouring rows are put in random order; then photos are shuffled among those of a window, which is
    what has to stay in memory. Every photo comes once per epoch, up to what makes the processes' shares equal.

    Args:
        dataset: the training photos.
        rows: their rows in the store, int64 (photos,).
        processes: among how many they are shared out.
        rank: which of them this is.
        seed: of the order.
        block: neighbouring photos that are read together.
        window: photos among which the order is random.
    """

    def __init__(
        self, dataset: Dataset[Tensor], rows: Tensor, processes: int, rank: int, seed: int, block: int, window: int
    ) -> None:
        super().__init__(dataset, processes, rank, seed=seed)
        self.rows, self.block, self.window = rows, block, window

    def __iter__(self) -> Iterator[int]:
        """The positions of this process's photos."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        blocks = self.rows.argsort().split(self.block)
        order = torch.cat([blocks[number] for number in torch.randperm(len(blocks), generator=generator)])
        windows = [part[torch.randperm(len(part), generator=generator)] for part in order.split(self.window)]
        positions = torch.cat(windows).tolist()
        return islice(cycle(positions), self.rank, self.total_size, self.num_replicas)
