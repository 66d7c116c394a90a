"""Histograms of intensities, for people who look at a delivery: which values do its frames hold, modality by modality?

Read from a bounded sample of frames, so the work does not grow with the delivery. HU for CT. The window that most
frames of a modality are shown through is shaded. What is not here: the slices themselves.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from medillus_pipeline.dicom.decoding import PixelError
from medillus_pipeline.dicom.outcomes import Quarantine
from medillus_pipeline.dicom.pixels import grey_frame
from medillus_pipeline.dicom.reading import parse, silenced
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from PIL import ImageDraw

SAMPLED = 24
"""Frames of a modality that are read."""
MODALITIES = 4
"""Modalities that get a panel, the ones with most slices first."""
BINS = 160
CT_RANGE = (-1100.0, 2100.0)
"""HU that the axis of CT spans, so that deliveries compare; what lies outside counts in the outermost bins."""
LEAST_SHARE = 1e-5
"""Share of the pixels at the foot of the logarithmic axis."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 210, 58, 14, 30, 40
PAPER, INK, FAINT, BAR, BAND = (255, 255, 255), (40, 40, 40), (205, 205, 205), (52, 96, 148), (232, 240, 216)


@dataclass(frozen=True)
class Histogram:
    """Shares of the pixels (sum 1) in bins of equal width from `low` to `high`, in output units of the Modality LUT;
    from how many frames, of how many slices; and the name, centre and width of the window that most of them have.
    """

    modality: str
    unit: str
    low: float
    high: float
    shares: np.ndarray
    frames: int
    slices: int
    window: tuple[str, float, float] | None


def intensity_histograms(
    slices: Sequence[Mapping[str, Any]], clean: Zone, *, sampled: int = SAMPLED
) -> list[Histogram]:
    """Histograms of the grey `slices` (rows of SLICES) by modality, padding left out, from at most `sampled` frames of
    each, evenly spread in reading order. A frame that cannot be read now is left out.
    """
    grey: dict[str, list[tuple[str, str, int, int]]] = defaultdict(list)
    windows: dict[str, Counter[tuple[str, float, float]]] = defaultdict(Counter)
    for number, row in enumerate(slices):
        if row["window"] != "colour":
            grey[row["modality"]].append((row["patient"], row["series_instance_uid"], row["ordinal"], number))
        if row["window_center"] is not None:
            windows[row["modality"]][row["window"], row["window_center"], row["window_width"]] += 1
    found = []
    for modality, places in sorted(grey.items(), key=lambda item: (-len(item[1]), item[0]))[:MODALITIES]:
        places.sort()
        step = max(1.0, len(places) / sampled)
        middle = [int((number + 0.5) * step) for number in range(min(sampled, len(places)))]
        parts, hounsfield = _values([slices[places[place][-1]] for place in middle], clean)
        if parts:
            hounsfield &= modality == "CT"
            found.append(_histogram(modality, parts, hounsfield, len(places), windows[modality]))
    return found


def histogram_picture(histograms: Sequence[Histogram], *, maximum: int = 15_000) -> bytes:
    """A PNG of at most `maximum` bytes with one panel for each histogram, or for as many as fit: value across, share
    of the pixels up (logarithmic). Raises ValueError without histograms, or where not even one fits.
    """
    from PIL import Image, ImageDraw

    for panels in range(len(histograms), 0, -1):
        picture = Image.new("RGB", (WIDTH, HEIGHT * panels), PAPER)
        draw = ImageDraw.Draw(picture)
        for number, histogram in enumerate(histograms[:panels]):
            _panel(draw, histogram, number * HEIGHT)
        sink = io.BytesIO()
        picture.quantize(12, dither=Image.Dither.NONE).save(sink, "PNG", optimize=True)
        if sink.tell() <= maximum:
            return sink.getvalue()
    raise ValueError(f"no histogram fits into {maximum} bytes")


def _values(chosen: Sequence[Mapping[str, Any]], clean: Zone) -> tuple[list[tuple[np.ndarray, np.ndarray]], bool]:
    """Values and counts of each frame, and whether all are in HU."""
    parts, hounsfield = [], True
    by_file = sorted(chosen, key=lambda row: (row["instance_path"], row["frame"]))
    with silenced():
        for path, rows in groupby(by_file, key=lambda row: row["instance_path"]):
            try:
                dataset = parse(clean.read(path))
            except (FileNotFoundError, Quarantine):
                continue
            for row in rows:
                try:
                    frame = grey_frame(dataset, row["frame"])
                except PixelError:
                    continue
                values, counts = frame.histogram()
                hounsfield &= frame.calibration.hounsfield
                if len(values):
                    parts.append((values, counts))
    return parts, hounsfield


def _histogram(
    modality: str,
    parts: list[tuple[np.ndarray, np.ndarray]],
    hounsfield: bool,
    slices: int,
    windows: Counter[tuple[str, float, float]],
) -> Histogram:
    low, high = min(float(v.min()) for v, _ in parts), max(float(v.max()) for v, _ in parts)
    if hounsfield:
        low, high = CT_RANGE
    if high <= low:
        low, high = low - 0.5, low + 0.5
    sums = np.zeros(BINS)
    for values, counts in parts:
        sums += np.histogram(np.clip(values, low, high), bins=BINS, range=(low, high), weights=counts)[0]
    common = min(windows.items(), key=lambda item: (-item[1], item[0]))[0] if windows else None
    unit = "HU" if hounsfield else "rescaled value"
    return Histogram(modality, unit, low, high, sums / sums.sum(), len(parts), slices, common)


def _panel(draw: "ImageDraw.ImageDraw", histogram: Histogram, top: int) -> None:
    from PIL import ImageFont

    large, small = ImageFont.load_default(14), ImageFont.load_default(12)
    left, right, head, foot = LEFT, WIDTH - RIGHT, top + TOP, top + HEIGHT - BOTTOM

    def across(value: float) -> float:
        share = (value - histogram.low) / (histogram.high - histogram.low)
        return left + min(1.0, max(0.0, share)) * (right - left)

    def up(share: float) -> float:
        decades = np.log10(max(share, LEAST_SHARE) / LEAST_SHARE)
        return foot - float(decades / -np.log10(LEAST_SHARE)) * (foot - head)

    title = f"{histogram.modality}: {histogram.frames} of {histogram.slices} slices"
    if histogram.window is not None:
        name, center, width = histogram.window
        draw.rectangle((across(center - width / 2), head, across(center + width / 2), foot), fill=BAND)
        title += f"; shaded: window {name} {center:.4g}/{width:.4g}"
    draw.text((left, top + 7), title, fill=INK, font=large)
    for exponent in range(0, -6, -1):
        y = up(10.0**exponent)
        draw.line((left, y, right, y), fill=FAINT)
        label = f"{100 * 10.0**exponent:g}%"
        draw.text((left - 6, y), label, fill=INK, font=small, anchor="rm")
    wide = (right - left) / BINS
    for number, share in enumerate(histogram.shares):
        if share >= LEAST_SHARE:
            start = left + number * wide
            draw.rectangle((round(start), up(share), round(start + wide) - 1, foot), fill=BAR)
    draw.line((left, foot, right, foot), fill=INK)
    for tick in _ticks(histogram.low, histogram.high):
        x = across(tick)
        draw.line((x, foot, x, foot + 4), fill=INK)
        draw.text((x, foot + 6), f"{tick:g}", fill=INK, font=small, anchor="ma")
    unit = "HU, the ends count all that lies outside" if histogram.unit == "HU" else histogram.unit
    draw.text(((left + right) / 2, foot + 22), f"{unit} (up: share of pixels)", fill=INK, font=small, anchor="ma")


def _ticks(low: float, high: float) -> list[float]:
    """Some five to ten round numbers within the range."""
    rough = (high - low) / 7
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough))
    first = np.ceil(low / step) * step
    return [float(v) + 0.0 for v in np.arange(first, high + step * 1e-6, step)]
