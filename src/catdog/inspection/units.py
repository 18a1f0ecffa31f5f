"""A page's part on a network's units."""

from torchvision.transforms.functional import gaussian_blur

from catdog.inspection.exhibits import Bars, Card, Cards, Picture, Section
from catdog.inspection.measures import Inspection, Layer
from catdog.inspection.photos import photo_picture, pictures

MOST_UNITS = 16  # shown of a layer
MOST_PHOTOS = 6  # shown of a unit
BLUR = 1 / 24  # standard deviation of what takes the grain away, as a share of the picture's width


def activity(inspection: Inspection, names: tuple[str, str]) -> Section:
    """Show how often the units of every hidden layer are active."""
    text = (
        f"A bar for every unit: the share of the {len(inspection.names):,} test photos, none of which the net has "
        "learnt from, on which its activation is above 0."
    )
    notes = ["A dead unit is active on no photo and tells nothing; one that is always active only tells how much."]
    for number, layer in enumerate(inspection.layers, start=1):
        if layer.silent and number == len(inspection.layers):
            notes.append(
                f"On {layer.silent:,} of the photos no unit of the last hidden layer says anything; whatever such a "
                "photo shows, the answer is the same."
            )
    bars = [_bars(inspection, number, names) for number in range(1, len(inspection.layers) + 1)]
    return Section("How often each unit is active", text, bars, notes)


def _bars(inspection: Inspection, number: int, names: tuple[str, str]) -> Bars:
    layer = inspection.layers[number - 1]
    words = [
        f"{layer.width:,} unit" + "s" * (layer.width > 1),
        f"on average active on {layer.active.mean():.0%} of the photos",
    ]
    standing_out = (int(layer.dead.sum()), "dead"), (int(layer.always.sum()), "always active")
    words += [f"{count:,} {word}" for count, word in standing_out if count]
    tooltips = [f"unit {unit + 1}: {_activity(inspection, layer, unit, names)}" for unit in range(layer.width)]
    return Bars(f"Hidden layer {number}", ", ".join(words), layer.active.tolist(), tooltips)


def first_layer(inspection: Inspection, names: tuple[str, str]) -> Section:
    """The first hidden layer's units with their weights."""
    layer = inspection.layers[0]
    units = layer.ranking[:MOST_UNITS]
    text = "Each unit's weights as a picture, and the test photos that excite it most: those that resemble the picture."
    votes = (
        f"A unit adds to z its activation times the slope of z along it. It votes for “{names[1]}” if at least three "
        f"quarters of what it adds, over all test photos, is above 0, and for “{names[0]}” if below 0."
    )
    notes = [*weight_notes(inspection), votes, _order(layer, len(units))]
    cards = _cards(inspection, layer, units, weight_looks(inspection, units), names)
    return Section("Hidden layer 1: what its units look for", text, [cards], notes)


def later_layer(inspection: Inspection, number: int, names: tuple[str, str]) -> Section:
    """A hidden layer, counted from 1, whose units see the units of the layer before."""
    layer = inspection.layers[number - 1]
    units = layer.ranking[:MOST_UNITS]
    typical = pictures(layer.typical(units, inspection.pixels))
    tooltip = "what the photos that excite it have in common"
    looks = [[] if layer.dead[unit] else [Picture(image, tooltip)] for unit, image in zip(units, typical, strict=True)]
    text = (
        "What the photos that excite a unit have in common (their average, each counted by the unit's activation, "
        "minus the average of all test photos), and the six that excite it most."
    )
    notes = [f"These units see no pixels, only the units of layer {number - 1}."]
    if number == len(inspection.layers):
        notes.append("What a unit of the last hidden layer adds to z is its activation times its outgoing weight.")
    notes.append(_order(layer, len(units)))
    cards = _cards(inspection, layer, units, looks, names)
    return Section(f"Hidden layer {number}: what its units respond to", text, [cards], notes)


def weight_notes(inspection: Inspection) -> list[str]:
    """Explain the pictures of `weight_looks`."""
    learnt = "Learnt: what training has added to the random numbers that the weights began as."
    blurred = "Blurred: the same without its grain, of which much is left from the random start."
    return [
        "Weights: grey is 0; where the picture is light, light pixels add to the sum and dark ones take away, where it "
        "is dark, the other way round; so for red, green and blue. Each picture is as strong in contrast as can be.",
        blurred if inspection.learnt is None else learnt,
    ]


def weight_looks(inspection: Inspection, units: list[int]) -> list[list[Picture]]:
    """Of first-layer units two pictures: weights, and what of them is learnt; blurred where that is not known."""
    weights, size = inspection.weights[units], inspection.pixels.shape[-1]
    if inspection.learnt is not None:
        second, word = inspection.learnt[units], "learnt"
    else:
        images, radius = weights.reshape(-1, 3, size, size), max(1, round(2 * BLUR * size))
        blurred = gaussian_blur(images, 2 * min(radius, size - 1) + 1, max(BLUR * size, 0.5))
        second, word = blurred.flatten(1), "blurred"
    return [
        [Picture(one, "its weights", "weights"), Picture(other, f"its weights, {word}", word)]
        for one, other in zip(pictures(weights), pictures(second), strict=True)
    ]


def _cards(
    inspection: Inspection, layer: Layer, units: list[int], looks: list[list[Picture]], names: tuple[str, str]
) -> Cards:
    cards = []
    for unit, look in zip(units, looks, strict=True):
        badge, side = _vote(layer, unit, names)
        notes = [_activity(inspection, layer, unit, names)]
        if layer.contributions[:, unit].any():
            mean, spread = layer.contributions[:, unit].mean().item(), layer.sway[unit].item()
            notes.append(f"adds {signed(mean)} ± {spread:.2f} to z")
        photos = [
            photo_picture(inspection, photo, names, f"activation {layer.activations[photo, unit]:.2f}")
            for photo in layer.exciting(unit, MOST_PHOTOS)
        ]
        cards.append(Card(f"Unit {unit + 1}", badge, side, notes, look, photos))
    return Cards(cards)


def _vote(layer: Layer, unit: int, names: tuple[str, str]) -> tuple[str, int | None]:
    """Name the class that a unit votes for, in words and as a number."""
    if layer.dead[unit]:
        return "dead: never active", None
    if not layer.contributions[:, unit].any():
        return "not heard by later layers", None
    vote = layer.vote(unit)
    return ("votes both ways", None) if vote is None else (f"votes {names[vote]}", vote)


def _activity(inspection: Inspection, layer: Layer, unit: int, names: tuple[str, str]) -> str:
    if layer.dead[unit]:
        return "active on no photo"
    if layer.always[unit]:
        return "active on every photo"
    shares = [
        (layer.active_on(inspection.labels == label)[unit].item(), name)
        for label, name in enumerate(names)
        if (inspection.labels == label).any()
    ]
    return f"active on {' and '.join(f'{share:.0%} of {name}' for share, name in shares)}"


def _order(layer: Layer, shown: int) -> str:
    first = "Units come in the order of how much they move z from photo to photo (the standard deviation after ±)"
    if shown == layer.width:
        return f"{first}."
    dead = int(layer.dead[layer.ranking[shown:]].sum())
    remark = f", {dead:,} of them dead" if dead else ""
    return f"{first}: the first {shown} of {layer.width:,}; {layer.width - shown:,} are left out{remark}."


def signed(value: float) -> str:
    """A number with its sign."""
    return f"{value:+.2f}".replace("-", "−")
