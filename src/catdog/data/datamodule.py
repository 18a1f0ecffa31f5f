"""CatDogDataModule: source → pixel store → seeded split → loaders."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningDataModule
from torch.utils.data import BatchSampler, DistributedSampler, Sampler, SequentialSampler

from catdog.data.batches import PhotoLoader, random_views
from catdog.data.photos import FolderSource, PhotoSource
from catdog.data.split import Part, data_warnings, split_store
from catdog.data.store import PixelStore, digest
from catdog.errors import InputError, check_choice, check_number, check_path, check_seed, check_whole_number


class CatDogDataModule(LightningDataModule):
    """Cat and dog photos: decoded once, split 80/10/10, loaded in batches (images, labels) by `PhotoLoader`.

    Args:
        source: a photo source, or a function that builds one from `root`.
        root: folder of the photos, for sources that read one; FolderSource needs two class sub-folders in it.
        image_size: height and width of the images in pixels; photos are resized to a square.
        batch_size: photos per training step, summed over all processes.
        split_seed: seed of the split; see `split_indices`.
        fold: tenth of the photos that is the test set, 0 to 9.
        train_photos: number of training photos; None for all that the split has.
        train_set: which of the disjoint sets of `train_photos` photos to train on, from 0; see `Part.subset`.
        shuffle_seed: seed of the training order, reshuffled every epoch, and of the augmentation.
        augment: True to augment the training photos; see `random_views`.
        max_unreadable: largest fraction of photos that may be unreadable.
        cache_dir: folder of the pixel stores.
    """

    def __init__(
        self,
        source: PhotoSource | Callable[[str | Path], PhotoSource] = FolderSource,
        root: str | Path | None = None,
        image_size: int = 128,
        batch_size: int = 32,
        split_seed: int = 0,
        fold: int = 0,
        train_photos: int | None = None,
        train_set: int = 0,
        shuffle_seed: int = 0,
        augment: bool = False,
        max_unreadable: float = 0.01,
        cache_dir: str | Path = "outputs/cache",
    ) -> None:
        super().__init__()
        check_whole_number("data.image_size", image_size, least=1)
        check_whole_number("data.batch_size", batch_size, least=1)
        check_seed("data.split_seed", split_seed)
        check_whole_number("data.fold", fold, least=0, most=9)
        check_whole_number("data.train_photos", 1 if train_photos is None else train_photos, least=1)
        check_whole_number("data.train_set", train_set, least=0)
        check_seed("data.shuffle_seed", shuffle_seed)
        check_choice("data.augment", augment, (True, False))
        check_number("data.max_unreadable", max_unreadable, least=0, most=1)
        check_path("data.cache_dir", cache_dir)
        check_path("data.root", "" if root is None else root)
        if callable(source):
            if root is None:
                raise InputError("data.root must be given: a folder with two class sub-folders")
            source = source(root)
        elif root is not None:
            raise InputError(f"data.root={root} is for sources that read a folder, such as data=folder")
        self.source, self.class_names = source, source.class_names
        self.image_size, self.batch_size, self.split_seed, self.fold = image_size, batch_size, split_seed, fold
        self.train_photos, self.train_set, self.shuffle_seed = train_photos, train_set, shuffle_seed
        self.augment, self.max_unreadable, self.cache_dir = augment, max_unreadable, cache_dir
        self._stores: dict[torch.device, PixelStore] = {}

    @cached_property
    def store(self) -> PixelStore:
        """Decoded photos: opened from the cache, or decoded on first access."""
        return PixelStore.of(self.source, self.image_size, self.cache_dir)

    def prepare_data(self) -> None:
        """Decode the photos once; other ranks wait."""
        _ = self.store

    def setup(self, stage: str | None = None) -> None:
        """Set the parts `train`, `val` and `test`, and `warnings`; InputError if too few photos are readable."""
        if hasattr(self, "train"):  # Trainer calls this for fit, test and predict
            return
        photos, unreadable = len(self.store.names), self.store.unreadable
        if len(unreadable) > self.max_unreadable * photos:
            name, reason = next(iter(unreadable.items()))
            allowed = f"more than data.max_unreadable={self.max_unreadable} allows; the first is {name!r} ({reason})"
            raise InputError(f"{len(unreadable)} of {photos} photos are unreadable, {allowed}")
        train, self.val, self.test = split_store(self.store, self.split_seed, self.fold)
        self.train = train.subset(self.train_photos or len(train), self.train_set)
        self.warnings = list(data_warnings(self.store, self.class_names, (self.train, self.val, self.test)))

    def state_dict(self) -> dict[str, Any]:
        """Identify the test photos, for the checkpoint: training has not seen them."""
        rows = self.test.rows.tolist() if hasattr(self, "test") else []
        return {"test": digest("".join(self.store.digests[row] for row in rows).encode())}

    def train_dataloader(self) -> PhotoLoader:
        """Build the training loader; its order depends only on `shuffle_seed` and the epoch."""
        trainer: Any = self.trainer
        processes, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if self.batch_size % processes:
            raise InputError(f"data.batch_size={self.batch_size} cannot be divided evenly among {processes} processes")
        shuffle = not (trainer and trainer.overfit_batches)  # it needs the same batches in every epoch
        # Used for one process too: unlike RandomSampler it seeds each epoch with (seed, epoch), so a resumed run sees
        # the batches that an uninterrupted one would have seen.
        sampler = DistributedSampler[Any](cast(Any, self.train), processes, rank, shuffle, self.shuffle_seed)
        return self._loader(self.train, sampler, self.batch_size // processes)

    def val_dataloader(self) -> PhotoLoader:
        """Build the validation loader, unshuffled; every process loads all photos."""
        return self._loader(self.val, SequentialSampler(self.val), self.batch_size)

    def test_dataloader(self) -> PhotoLoader:
        """Build the test loader, unshuffled; every process loads all photos."""
        return self._loader(self.test, SequentialSampler(self.test), self.batch_size)

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment training batches, seeded by `shuffle_seed`, the number of batches so far and the process."""
        trainer: Any = self.trainer
        if not self.augment or not trainer.training:
            return batch
        seeds = self.shuffle_seed, trainer.fit_loop.total_batch_idx + 1, trainer.global_rank
        return random_views(batch[0], *seeds), batch[1]

    def _loader(self, part: Part, sampler: Sampler[int], batch_size: int) -> PhotoLoader:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device not in self._stores:
            self._stores = {device: self.store.on(device)}
        return PhotoLoader(self._stores[device], part.rows, BatchSampler(sampler, batch_size, drop_last=False), device)
