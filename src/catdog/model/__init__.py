"""The fully connected network and the LightningModule that trains it."""

from catdog.model.classifier import CatDogClassifier as CatDogClassifier
from catdog.model.network import FullyConnected as FullyConnected
