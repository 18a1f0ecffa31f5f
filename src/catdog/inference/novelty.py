"""Novelty detection: warn of pictures unlike a run's training photos, by the energy of their principal components."""

import torch
from torch import Tensor
from torch.nn import functional

from catdog.data import CatDogDataModule, to_images
from catdog.model.features import Whitening

SIDE = 16  # pixels that pictures are reduced to
COMPONENTS, BANDS = 64, 4  # principal components, and the groups of similar variance that they are split into
MOST = 2_000  # photos of each part that are looked at: start-up takes seconds, however large the run was


class NoveltyDetector:
    """Distance of pictures from a run's training photos, with a limit that its validation photos set.

    A picture is reduced to 16 × 16 pixels and whitened. Its features are the logarithms of its mean squared component
    in four bands, from coarse to fine, and of its energy outside all components: plain pictures have too little of
    everything, noise has too much. Whitened again, their mean square is the Mahalanobis distance, squared, over five.

    `data` is a run's data module, after `setup`; at most MOST photos of each part are looked at. Of its `tested` test
    photos, `false_alarms` get the warning. InputError if there are fewer training photos than BANDS + 1.
    """

    def __init__(self, data: CatDogDataModule) -> None:
        chosen = (part.rows[:: -(-len(part) // MOST)] for part in (data.train, data.val, data.test))
        train, val, test = (data.store.pixels[rows] for rows in chosen)
        values = _reduced(train)
        self.mean = values.mean(0)
        self.whitening = Whitening(values.shape[1], min(COMPONENTS, max(BANDS, len(train) // 4)), 1e-4)
        self.whitening.fit(values)
        self.spectrum = Whitening(BANDS + 1, BANDS + 1, 1e-4)
        self.spectrum.fit(self._energies(values))
        self.limit = torch.quantile(self.distance(val), 0.99)  # 1 % of the validation photos are above it
        self.false_alarms, self.tested = int(self.unlike(test).sum()), len(test)

    def distance(self, pixels: Tensor) -> Tensor:
        """Compute each picture's mean squared whitened feature; pixels are uint8 (photos, 3, size, size)."""
        return self.spectrum(self._energies(_reduced(pixels))).square().mean(1)

    def unlike(self, pixels: Tensor) -> Tensor:
        """Return a bool for each picture, True if its distance is above the limit."""
        return self.distance(pixels) > self.limit

    def _energies(self, values: Tensor) -> Tensor:
        axes, centred = functional.normalize(self.whitening.weight), values - self.mean
        rest = centred - centred @ axes.T @ axes
        bands = [*self.whitening(values).tensor_split(BANDS, dim=1), rest]
        energies = torch.stack([band.square().mean(1) for band in bands], dim=1)
        return energies.add(1e-6).log()  # plain pictures have almost none


def _reduced(pixels: Tensor) -> Tensor:
    """Reduce pictures to float32 (photos, 3 · SIDE²), in chunks, because large ones take memory."""
    return torch.cat([functional.adaptive_avg_pool2d(to_images(p.float()), SIDE) for p in pixels.split(256)]).flatten(1)
