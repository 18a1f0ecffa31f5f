"""The fully connected network and the LightningModule that trains it."""

from catdog.model.classifier import CatDogClassifier
from catdog.model.network import FullyConnected

__all__ = ["CatDogClassifier", "FullyConnected"]
