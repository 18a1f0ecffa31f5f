"""Photos: where they come from, their pixels, and how they are dealt out."""

from catdog.data.datamodule import CatDogDataModule
from catdog.data.decoding import UnreadablePhotoError
from catdog.data.downloads import Archive
from catdog.data.drawn import DrawnSource
from catdog.data.pixels import PixelStore, read_all, to_images
from catdog.data.published import MicrosoftSource, OxfordPetsSource
from catdog.data.sources import FileSource, FolderSource, PhotoSource
from catdog.data.split import split_indices

__all__ = [
    "Archive",
    "CatDogDataModule",
    "DrawnSource",
    "FileSource",
    "FolderSource",
    "MicrosoftSource",
    "OxfordPetsSource",
    "PhotoSource",
    "PixelStore",
    "UnreadablePhotoError",
    "read_all",
    "split_indices",
    "to_images",
]
