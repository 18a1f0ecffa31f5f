"""CatDogDataModule: source → pixel store → seeded split → loaders."""

import math
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, default_convert

from catdog import seeding
from catdog.data import caveats
from catdog.data.pixels import PixelStore, store_key, to_images
from catdog.data.shuffling import LocalShuffle
from catdog.data.sources import PhotoSource
from catdog.data.split import split_rows
from catdog.errors import InputError, check_path, check_whole_number
from catdog.seeding import Purpose, step_seed
from catdog.views import RandomViews

Batch = tuple[Tensor, Tensor]  # images, labels

EVALUATION_PHOTOS = 256  # handed to Lightning at a time; what it does per call costs as much as they do
BLOCK, WINDOW = 64, 8192  # photos read together, and shuffled among each other, where reads are kept local


class Part(Dataset[Tensor]):
    """One part of the split: which rows of a store, handed out as row numbers, many at a time.

    Attributes:
        rows: row numbers, int64 (photos,).
        names: the photos' names, in the order of `rows`.
        labels: float32 (photos,), 0 or 1.
    """

    def __init__(self, store: PixelStore, rows: Tensor) -> None:
        self.rows = rows
        self.names = [store.names[row] for row in rows.tolist()]
        self.labels = store.labels[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> Tensor:
        return self.rows[positions]


class CatDogDataModule(LightningDataModule):
    """Photos for training: decoded once, split 80/10/10, dealt out in batches.

    A batch is (images, labels): float32 images in [-1, 1] of shape (batch, 3, image_size, image_size), and float32
    labels of shape (batch,). What the loaders deal out are row numbers of the store, of many batches at a time; on
    the device they become an iterator over the batches.

    Args:
        source: makes the source of the photos from `root`.
        root: where the source's photos lie; None for a source that needs no folder.
        image_size: height and width of the images in pixels.
        batch_size: photos per training step, of all processes together.
        split_seed: which photos go where; see `split_indices`.
        fold: which tenth of them is tested, 0 to 9.
        shuffle_seed: the order of the training photos, another one in every epoch.
        augment: mirror, zoom, shift and turn the training photos at random; see `RandomViews`.
        steps_per_execution: batches per call of the classifier's training step. One, where the trainer is to count
            batches: with limits on them or on steps.
        device_cache: whether the pixels are kept in the memory of a GPU: true, false, or auto, which is where they
            take up at most half of what is free there.
        local_shuffle: whether the training order keeps reads local (see `LocalShuffle`): true, false, or auto, which
            is for stores larger than half of this machine's memory.
        max_unreadable: largest share of photos that may be unreadable.
        sought_difference: between the test accuracies of two nets, as a share; if the test photos are too few to show
            it, that is one of the caveats.
        cache_dir: the folder of the pixel stores.

    Raises:
        InputError: an argument makes no sense, or the source's input does not.
    """

    def __init__(
        self,
        *,
        source: Callable[[str | Path | None], PhotoSource],
        root: str | Path | None,
        image_size: int,
        batch_size: int,
        split_seed: int,
        fold: int,
        shuffle_seed: int,
        augment: bool,
        steps_per_execution: int,
        device_cache: bool | str,
        local_shuffle: bool | str,
        max_unreadable: float,
        sought_difference: float,
        cache_dir: str | Path,
    ) -> None:
        super().__init__()
        check_whole_number("data.image_size", image_size, least=1)
        check_whole_number("data.batch_size", batch_size, least=1)
        check_whole_number("data.split_seed", split_seed, least=0, most=seeding.MOST)
        check_whole_number("data.shuffle_seed", shuffle_seed, least=0, most=seeding.MOST)
        check_whole_number("data.steps_per_execution", steps_per_execution, least=1)
        for key, value in (("device_cache", device_cache), ("local_shuffle", local_shuffle)):
            if value not in (True, False, "auto"):
                raise InputError(f"data.{key} must be true, false or auto, got {value!r}")
        if not isinstance(max_unreadable, int | float) or not 0 <= max_unreadable <= 1:
            raise InputError(f"data.max_unreadable is a share between 0 and 1, got {max_unreadable!r}")
        if not isinstance(sought_difference, int | float) or not 0 < sought_difference <= 1:
            raise InputError(f"data.sought_difference is a share above 0, at most 1, got {sought_difference!r}")
        if root is not None:
            check_path("data.root", root)
        check_path("data.cache_dir", cache_dir)
        self.source = source(root)
        self.class_names = self.source.class_names
        self.image_size = image_size
        self.batch_size = batch_size
        self.split_seed = split_seed
        self.fold = fold
        self.shuffle_seed = shuffle_seed
        self.steps_per_execution = steps_per_execution
        self.device_cache = device_cache
        self.local_shuffle = local_shuffle
        self.max_unreadable = max_unreadable
        self.sought_difference = sought_difference
        self.cache_dir = cache_dir
        self.augmentation = RandomViews() if augment else None

    def fingerprint(self) -> str:
        """Changes whenever the photos or their size do."""
        return store_key(self.source, self.image_size)

    @cached_property
    def store(self) -> PixelStore:
        """The decoded photos; the first to ask for them decodes them, unless that was done before."""
        return PixelStore.of(self.source, self.image_size, self.cache_dir)

    def prepare_data(self) -> None:
        """Have the photos decoded; one process does it for all.

        Raises:
            InputError: too many photos are unreadable, or too few are left to split.
        """
        unreadable, total = self.store.unreadable, len(self.source.names)
        if len(unreadable) > self.max_unreadable * total:
            name, reason = next(iter(unreadable.items()))
            raise InputError(
                f"{len(unreadable)} of {total} photos are unreadable, more than data.max_unreadable="
                f"{self.max_unreadable} allows; the first is {name!r} ({reason})"
            )
        _ = self._rows

    def setup(self, stage: str | None = None) -> None:
        """Deal out the photos of the store."""
        self.train, self.val, self.test = (Part(self.store, rows) for rows in self._rows)
        self._device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self._cache = self.store.to(self._device) if self._caches_on(self._device) else self.store
        shape = self._share, *self.store.pixels.shape[1:]
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=self._cache.pixels.device)
        self._images = torch.empty(shape, device=self._device)

    @cached_property
    def _rows(self) -> list[Tensor]:
        """The rows of each part, copies of a photo in one part, unless that would leave another one empty."""
        for copies_together in (True, False):
            rows = self._deal_out(copies_together)
            if all(map(len, rows)):
                return rows
        raise InputError(
            f"a part of the split has no photo: {len(self.source.names)} photos, "
            f"{len(self.store.unreadable)} of them unreadable"
        )

    def _deal_out(self, copies_together: bool) -> list[Tensor]:
        digests = self.store.digests if copies_together else None
        return split_rows(self.source.names, self.store.unreadable, digests, self.split_seed, self.fold)

    @cached_property
    def caveats(self) -> list[str]:
        """What results on these photos have to be read with, a sentence each."""
        undisturbed = self._deal_out(copies_together=False)
        return caveats.of_split(self.store, self.class_names, self._rows, undisturbed, self.sought_difference)

    def _caches_on(self, device: torch.device) -> bool:
        if self.device_cache == "auto":
            return device.type == "cuda" and 2 * self.store.pixels.nbytes <= torch.cuda.mem_get_info(device)[0]
        return bool(self.device_cache)

    @property
    def _shuffles_locally(self) -> bool:
        if self.local_shuffle == "auto":
            return 2 * self.store.pixels.nbytes > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return bool(self.local_shuffle)

    @property
    def _share(self) -> int:
        """Photos of a batch that this process takes."""
        return self.batch_size // (self.trainer.world_size if self.trainer else 1)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """All training photos, in an order that depends on `shuffle_seed` and the epoch alone."""
        # Also for one process: unlike a RandomSampler it draws every epoch's order anew from (seed, epoch), so a
        # resumed run goes on with the batches it would have seen.
        trainer = self.trainer
        processes, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if self.batch_size % processes:
            raise InputError(
                f"data.batch_size={self.batch_size} cannot be shared out evenly among {processes} processes"
            )
        sampler: DistributedSampler[int]
        if self._shuffles_locally:
            sampler = LocalShuffle(self.train, self.train.rows, processes, rank, self.shuffle_seed, BLOCK, WINDOW)
        else:
            sampler = DistributedSampler(self.train, processes, rank, seed=self.shuffle_seed)
        counts_batches = trainer is not None and (trainer.limit_train_batches != 1.0 or trainer.max_steps != -1)
        batches = 1 if counts_batches else self.steps_per_execution
        return DataLoader(self.train, batch_size=batches * self._share, sampler=sampler, collate_fn=default_convert)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """The validation photos, in the split's order."""
        return DataLoader(self.val, batch_size=EVALUATION_PHOTOS, collate_fn=default_convert)

    def test_dataloader(self) -> DataLoader[Tensor]:
        """The test photos, in the split's order."""
        return DataLoader(self.test, batch_size=EVALUATION_PHOTOS, collate_fn=default_convert)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches the training photos are."""
        return math.ceil(len(self.train) / self.batch_size)

    def training_images(self, count: int) -> Iterator[Tensor]:
        """About `count` images as training shows them, in batches: the images of one hold until the next is made.

        Without augmentation no more than there are training photos.
        """
        passes = math.ceil(count / len(self.train)) if self.augmentation else 1
        for number, rows in enumerate(self.train.rows.repeat(passes)[:count].split(self._share)):
            yield self._augmented(self._load(rows)[0], Purpose.FEATURES, number)

    def transfer_batch_to_device(self, batch: Tensor, device: torch.device, dataloader_idx: int) -> Tensor:
        """Row numbers go to where the pixels are."""
        return batch.to(self._cache.pixels.device)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Iterator[Batch]:
        """Row numbers become batches, one at a time: the images of one hold until the next is made."""
        return map(self._load_for_step, batch.split(self._share))

    def _load_for_step(self, rows: Tensor) -> Batch:
        images, labels = self._load(rows)
        trainer = self.trainer
        if trainer is not None and trainer.training:
            step = trainer.global_step * trainer.world_size + trainer.global_rank
            images = self._augmented(images, Purpose.VIEWS, step)
        return images, labels

    def _load(self, rows: Tensor) -> Batch:
        # The same buffers for all batches: the page faults of fresh ones cost more than the arithmetic, and between
        # what is kept of an epoch, freed ones leave holes that add up to gigabytes over many photos.
        buffers = self._pixels[: len(rows)], self._images[: len(rows)]
        pixels, labels = self._cache.gather(rows, out=buffers[0])
        images, labels = buffers[1].copy_(pixels.to(self._device)), labels.to(self._device)
        return to_images(images, out=images), labels

    def _augmented(self, images: Tensor, purpose: Purpose, step: int) -> Tensor:
        if self.augmentation is None:
            return images
        # From (seed, step) alone, so a resumed run augments as an uninterrupted one does.
        self.augmentation.generator.manual_seed(step_seed(purpose, self.shuffle_seed, step))
        return self.augmentation(images)
