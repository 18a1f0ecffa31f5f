"""Photos: sources, decoded pixels, the split and the data module."""

from catdog.data.batches import to_images as to_images
from catdog.data.datamodule import CatDogDataModule as CatDogDataModule
from catdog.data.download import MicrosoftSource as MicrosoftSource
from catdog.data.download import OxfordPetsSource as OxfordPetsSource
from catdog.data.photos import FolderSource as FolderSource
from catdog.data.photos import PhotoSource as PhotoSource
from catdog.data.store import PixelStore as PixelStore
from catdog.data.store import read_all as read_all
from catdog.data.store import store_key as store_key
from catdog.data.synthetic import SyntheticSource as SyntheticSource
