"""A map of layers and heads as a picture, for viewers that draw none themselves."""

import math
from collections.abc import Mapping, Sequence

import numpy
from PIL import Image, ImageDraw, ImageFont

CELL, EDGE, BAR = 26, 46, 18  # pixels of a cell, of the room for its names, and of the colour bar
FEW = 24  # columns or rows up to which each has its number
LOGARITHMIC = ("distance", "drift")  # some heads have a hundred times what others have
# A perceptually even ramp from paper to ink, as in the report: pale, blue, deep blue.
RAMP = ((244, 246, 250), (120, 170, 220), (22, 60, 120))
NOTHING = (226, 226, 226)


def draw(layers: Mapping[int, Sequence[float]], title: str) -> Image.Image:
    """Return a picture of one score: a row for every layer, the last on top, and a column for every head."""
    numbers = sorted(layers)
    width = max(len(layers[layer]) for layer in numbers)
    values = numpy.full((len(numbers), width), numpy.nan)
    for row, layer in enumerate(numbers):
        values[row, : len(layers[layer])] = layers[layer]
    known = values[numpy.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    shades = _shades(values, low, high, title in LOGARITHMIC)
    picture = Image.new("RGB", (2 * EDGE + width * CELL + 3 * BAR, 2 * EDGE + len(numbers) * CELL), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    pen.text((EDGE, EDGE / 3), title, fill="black", font=ImageFont.load_default(15))
    for row, layer in enumerate(numbers):
        top = EDGE + (len(numbers) - 1 - row) * CELL
        if len(numbers) <= FEW or row % 4 == 0:
            pen.text((EDGE - 8, top + CELL / 2), str(layer), fill="black", font=font, anchor="rm")
        for head in range(len(layers[layer])):
            left = EDGE + head * CELL
            pen.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill=_colour(shades[row, head]))
    foot = EDGE + len(numbers) * CELL
    for head in range(width):
        if width <= FEW or head % 4 == 0:
            pen.text((EDGE + (head + 0.5) * CELL, foot + 4), str(head), fill="black", font=font, anchor="mt")
    pen.text((EDGE + width * CELL / 2, foot + 22), "head", fill="black", font=font, anchor="mt")
    pen.text((6, EDGE - 14), "layer", fill="black", font=font, anchor="lm")
    _draw_bar(pen, EDGE + width * CELL + BAR, EDGE, foot, (low, high))
    return picture


def _shades(values: numpy.ndarray, low: float, high: float, logarithmic: bool) -> numpy.ndarray:
    """Return values as 0..1 between the lowest and the highest; nan where there is none."""
    if high <= low:
        return numpy.where(numpy.isfinite(values), 0.0, numpy.nan)
    if logarithmic and low >= 0:
        return (numpy.log1p(values) - math.log1p(low)) / (math.log1p(high) - math.log1p(low))
    return (values - low) / (high - low)


def _colour(shade: float) -> tuple[int, ...]:
    if not math.isfinite(shade):
        return NOTHING
    place = min(max(shade, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    return tuple(round(a + (b - a) * (place - index)) for a, b in zip(RAMP[index], RAMP[index + 1], strict=True))


def _draw_bar(pen: ImageDraw.ImageDraw, left: float, top: float, foot: float, ends: tuple[float, float]) -> None:
    """Draw the colours with the lowest and the highest value beside them."""
    for y in range(int(top), int(foot)):
        pen.line((left, y, left + BAR / 2, y), fill=_colour(1 - (y - top) / max(foot - top, 1)))
    font = ImageFont.load_default(12)
    for value, y, anchor in ((ends[1], top, "lt"), (ends[0], foot, "lb")):
        pen.text((left + BAR / 2 + 4, y), f"{value:.3g}", fill="black", font=font, anchor=anchor)
