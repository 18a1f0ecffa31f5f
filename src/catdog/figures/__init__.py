"""Pictures: learning curves, networks, photos."""

from catdog.figures.curves import TRAIN_COLOR, VAL_COLOR, comparison, curves
from catdog.figures.networks import network_diagram, weight_pictures
from catdog.figures.photos import SIDE, contact_sheet, mistakes

__all__ = [
    "SIDE",
    "TRAIN_COLOR",
    "VAL_COLOR",
    "comparison",
    "contact_sheet",
    "curves",
    "mistakes",
    "network_diagram",
    "weight_pictures",
]
