"""Measurements → what a page on them shows and says."""

from collections.abc import Mapping
from typing import Any

from catdog.evaluation.measures import with_interval
from catdog.figures import network_diagram
from catdog.inspection.exhibits import Card, Cards, Drawing, Exhibition, Row, Section, Table
from catdog.inspection.measures import Inspection
from catdog.inspection.photos import photo_picture
from catdog.inspection.units import activity, first_layer, later_layer, signed, weight_looks, weight_notes
from catdog.names import describe, shown

MOST_SURE = 6  # photos shown of each kind of answer


def tell(inspection: Inspection, record: dict[str, Any], replica: int, options: Mapping[str, Any]) -> Exhibition:
    """Put a run's measurements into words and pictures.

    Args:
        inspection: of one of its networks on its test photos.
        record: what its `metrics.json` holds.
        replica: which network, counted from 0.
        options: the classifier's arguments.
    """
    first, second = inspection.class_names
    names = shown(first), shown(second)
    sections = [_network(inspection, names, options)]
    if len(record["replicas"]) > 1:
        sections.append(_replicas(record, replica))
    if inspection.layers:
        sections += [activity(inspection, names), first_layer(inspection, names)]
        sections += [later_layer(inspection, number, names) for number in range(2, len(inspection.layers) + 1)]
    else:
        sections.append(_single_sum(inspection, names))
    sections.append(_surest(inspection, names, options["test_time_augmentation"]))
    return Exhibition(
        title=f"What {record['net']} learnt about {names[0]} and {names[1]}",
        subtitle=describe(record),
        facts=_facts(inspection, record, replica),
        class_names=names,
        sections=sections,
        closing=f"Made by catdog {record['versions']['catdog']} from the run's tested weights and its test photos.",
    )


def _facts(inspection: Inspection, record: dict[str, Any], replica: int) -> list[tuple[str, str]]:
    photos, data, own = record["photos"], record["config"]["data"], record["replicas"][replica]
    widths, size, root = record["hidden"], inspection.pixels.shape[-1], data.get("root")
    source = "drawn by catdog" if root is None else f"from {shown(str(root))}"
    layers = f"{len(widths)} hidden layer" + "s" * (len(widths) > 1) + f" of {', '.join(map(str, widths))} units"
    net, epoch = layers if widths else "no hidden layer", own["tested_epoch"] or record["epochs"]
    return [
        ("Photos", f"{source}, resized to {size} × {size} pixels"),
        ("Split", f"{photos['train']:,} to learn from, {photos['val']:,} to validate, {photos['test']:,} to test"),
        ("Net", f"{net}; {record['parameters']:,} parameters"),
        ("Epochs", f"{record['epochs']}; shown are the tested weights, of epoch {epoch}"),
        ("Seed", f"{own['seed']}, with a test accuracy of {own['test/acc']:.3f}"),
        ("Larger class", f"{record['chance']:.3f} of all photos: what guessing gets"),
    ]


def _network(inspection: Inspection, names: tuple[str, str], options: Mapping[str, Any]) -> Section:
    widths = [inspection.weights.shape[1], *(layer.width for layer in inspection.layers), 1]
    fixed = _fixed(inspection, options)
    drawing = Drawing(network_diagram(widths, fixed), f"A network of widths {widths}")
    sums = "A photo's numbers, each times a weight of its own, are added up to z"
    if inspection.layers:
        sums = (
            "Every circle adds up the numbers that come in, each times a weight of its own, and passes "
            "ReLU of the sum on, up to the last sum, z"
        )
    notes = []
    if options["whitening"]:
        notes.append(
            f"PCA whitening turns a photo's pixels into {options['whitening']:,} numbers before: how much of each "
            "pattern that photos vary by it shows, all patterns made about equally strong. It is not trained."
        )
    if options["hog"]:
        notes.append(
            f"HOG (histograms of oriented gradients): {options['hog']:,} more numbers tell which way the photo's edges "
            "run, and where; whitened too. They are not trained, and not in the pictures of weights below."
        )
    text = f"{sums}: above 0 it means “{names[1]}”, below “{names[0]}”, the surer the further away."
    return Section("The net", text, [drawing], notes)


def _fixed(inspection: Inspection, options: Mapping[str, Any]) -> tuple[str, int] | None:
    """Name and width of what the first layer is given instead of pixels."""
    if options["hog"]:
        pixels = options["whitening"] or inspection.weights.shape[1]
        return f"{'whitened ' * bool(options['whitening'])}pixels, HOG", pixels + options["hog"]
    return ("PCA whitening", options["whitening"]) if options["whitening"] else None


def _replicas(record: dict[str, Any], marked: int) -> Section:
    rows = []
    for replica in record["replicas"]:
        accuracy = with_interval(replica, "test/acc")
        epoch = replica["tested_epoch"] or record["epochs"]
        rows.append([str(replica["seed"]), accuracy, str(epoch), "yes" if replica.get("val/dead") else "no"])
    text = (
        f"{len(rows)} nets of this shape learnt side by side from the same photos, each from its own random start; "
        f"the marked one, seed {record['replicas'][marked]['seed']}, is shown here."
    )
    header = ("Seed", "Test accuracy [95 %]", "Tested epoch", "Dead")
    return Section("All seeds", text, [Table(header, rows, marked)])


def _single_sum(inspection: Inspection, names: tuple[str, str]) -> Section:
    """Logistic regression: one picture of weights."""
    (looks,) = weight_looks(inspection, [0])
    card = Card("z", f"above 0: {names[1]}, below: {names[0]}", None, ["the only unit there is"], looks, [])
    order = inspection.logits.argsort(descending=True, stable=True).tolist()
    rows = []
    for word, photos in (("Highest z", order), ("Lowest z", order[::-1])):
        examples = [
            photo_picture(inspection, photo, names, f"z = {signed(inspection.logits[photo].item())}", caption=True)
            for photo in photos[:MOST_SURE]
        ]
        rows.append(Row(f"{word}: what “{names[word == 'Highest z']}” looks like to the net", examples, ""))
    text = "The weights as a picture, and the test photos with the highest and the lowest sums."
    return Section("What the net looks for", text, [Cards([card]), *rows], weight_notes(inspection))


def _surest(inspection: Inspection, names: tuple[str, str], averaged: bool) -> Section:
    right = (inspection.logits > 0) == (inspection.labels > 0.5)
    rows = []
    for is_right in (True, False):
        for label, name in enumerate(names):
            of_class = inspection.labels == label
            count = int((right[of_class] == is_right).sum())
            answer = names[label if is_right else 1 - label]
            heading = f"{name} taken for {answer}: {count:,} of {int(of_class.sum()):,}"
            photos = [
                photo_picture(inspection, photo, names, _certainty(inspection, photo), caption=True)
                for photo in inspection.surest(label, is_right, MOST_SURE)
            ]
            rows.append(Row(heading, photos, "none"))
    text = "Of right and of wrong answers, the test photos of which the net is surest, with the answer's probability."
    notes = ["The probabilities are means over ten views of a photo (ten-crop); all else is of the photo itself."]
    return Section("Where the net is sure", text, rows, notes if averaged else ())


def _certainty(inspection: Inspection, photo: int) -> str:
    percent = 100 * inspection.logits[photo].abs().sigmoid().item()
    return "over 99.9%" if percent > 99.9 else f"{percent:.1f}%"
