"""catdog: does a deeper fully connected network beat a shallow one on cat and dog photos?"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catdog.data import CatDogDataModule as CatDogDataModule
    from catdog.model import CatDogClassifier as CatDogClassifier

__all__ = ["CatDogClassifier", "CatDogDataModule", "__version__"]
__version__ = version("catdog")
_PACKAGES = {"CatDogClassifier": "catdog.model", "CatDogDataModule": "catdog.data"}


def __getattr__(name: str) -> Any:
    """Import the two classes on first use: PyTorch takes seconds that `train.py --help` need not wait for."""
    if name not in _PACKAGES:
        raise AttributeError(f"module 'catdog' has no attribute {name!r}")
    return getattr(import_module(_PACKAGES[name]), name)
