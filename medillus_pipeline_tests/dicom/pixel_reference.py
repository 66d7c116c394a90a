"""What a viewer has to show, one value at a time in float64, written from PS3.3 and PS3.5 alone.

It shares no code with the package: data sets go in as pydicom read them, greys and colours come out. Compressed frames
are decoded by pydicom, with whatever decoder it finds; native ones are unpacked here. What is not here: tests.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

Voi = Callable[[float], float]
"""From an output value of the Modality LUT to a share of white, 0 to 1."""


def group(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """PS3.3 C.7.6.16: the item of a functional group macro for a frame (from 1), its own before the shared one."""
    for groups, position in (("PerFrameFunctionalGroupsSequence", frame - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(groups)
        if items is not None and position < len(items):
            macro = items[position].get(name)
            if macro is not None and len(macro) and len(macro[0]):
                return macro[0]
    return None


def several(value: Any) -> list[float]:
    """The values of a DS attribute of any multiplicity."""
    if value is None or value == "":
        return []
    return [float(value)] if isinstance(value, int | float | str) else [float(v) for v in value]


# Stored values


def stored_values(dataset: Dataset, frame: int) -> np.ndarray:
    """(rows, columns) or (rows, columns, samples), int64 or float64. PS3.5 8.1.1, 8.2; PS3.3 C.7.6.3.1."""
    for keyword, kind in (("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")):
        if keyword in dataset:
            shape = (int(dataset.Rows), int(dataset.Columns))
            size = shape[0] * shape[1]
            flat = np.frombuffer(dataset[keyword].value, byte_order(dataset) + kind)
            return flat[(frame - 1) * size : frame * size].reshape(shape).astype(np.float64)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        values, _ = get_decoder(syntax).as_array(dataset, index=frame - 1, raw=True)
        return as_numbers(values.astype(np.int64), int(dataset.BitsStored), 0, signed(dataset))
    values = native_cells(dataset, frame)
    lowest = 0 if dataset.BitsAllocated == 1 else int(dataset.HighBit) - int(dataset.BitsStored) + 1
    return as_numbers(values, int(dataset.BitsStored), max(lowest, 0), signed(dataset))


def byte_order(dataset: Dataset) -> str:
    """`>` for Explicit VR Big Endian."""
    return ">" if str(dataset.file_meta.TransferSyntaxUID) == "1.2.840.10008.1.2.2" else "<"


def signed(dataset: Dataset) -> bool:
    """Pixel Representation 1: two's complement."""
    return int(dataset.get("PixelRepresentation", 0) or 0) == 1


def native_cells(dataset: Dataset, frame: int) -> np.ndarray:
    """The pixel cells of a native frame as unsigned numbers, samples last."""
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    allocated = int(dataset.BitsAllocated)
    data = dataset.PixelData
    size = rows * columns * samples
    if allocated == 1:
        order = np.frombuffer(data, np.uint8)
        bits = [(int(order[n // 8]) >> (n % 8)) & 1 for n in range((frame - 1) * size, frame * size)]
        return np.array(bits, np.int64).reshape(rows, columns)
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        # Two luminances, then the two chrominances that they share (C.7.6.3.1.2).
        four = np.frombuffer(data, np.uint8)[(frame - 1) * 2 * rows * columns :][: 2 * rows * columns].reshape(-1, 4)
        pairs = np.stack([four[:, [0, 2, 3]], four[:, [1, 2, 3]]], axis=1)
        return pairs.reshape(rows, columns, 3).astype(np.int64)
    if allocated == 8 and byte_order(dataset) == ">" and dataset["PixelData"].VR == "OW":
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    cells = np.frombuffer(data, f"{byte_order(dataset)}u{allocated // 8}", count=frame * size)[(frame - 1) * size :]
    cells = cells.astype(np.int64)
    if samples == 1:
        return cells.reshape(rows, columns)
    if int(dataset.get("PlanarConfiguration", 0) or 0) == 1:
        return np.moveaxis(cells.reshape(samples, rows, columns), 0, -1)
    return cells.reshape(rows, columns, samples)


def as_numbers(cells: np.ndarray, bits: int, lowest: int, is_signed: bool) -> np.ndarray:
    """The value in `bits` bits from bit `lowest` up; the rest of a cell says nothing."""
    values = (cells >> lowest) % 2**bits
    return np.where(values >= 2 ** (bits - 1), values - 2**bits, values) if is_signed else values


# Modality LUT and VOI


def table(item: Dataset, dataset: Dataset, *, negative: bool) -> tuple[int, int, list[int]]:
    """First input, bits and entries of a LUT (C.11.1.1.1, C.11.2.1.1)."""
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = 65536 if count in (0, 65536) else count % 65536
    first = first - 65536 if negative and first >= 32768 else first
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, byte_order(dataset) + "u2").tolist()
    words = [int(w) % 65536 for w in ([data] if isinstance(data, int) else data)]
    if len(words) < count:
        words = [byte for word in words for byte in (word % 256, word // 256)]
    return first, bits, words[:count]


def modality(dataset: Dataset, frame: int) -> Callable[[float], float]:
    """C.11.1: from stored value to output value."""
    if dataset.get("ModalityLUTSequence"):
        first, _, entries = table(dataset.ModalityLUTSequence[0], dataset, negative=signed(dataset))
        return lambda value: float(entries[min(max(int(value) - first, 0), len(entries) - 1)])
    source = group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope = (several(source.get("RescaleSlope")) or [1.0])[0]
    intercept = (several(source.get("RescaleIntercept")) or [0.0])[0]
    return lambda value: value * slope + intercept


def output_is_signed(dataset: Dataset, frame: int) -> bool:
    """Whether output values of the Modality LUT can lie below zero."""
    if dataset.get("ModalityLUTSequence"):
        return False
    source = group(dataset, frame, "PixelValueTransformationSequence") or dataset
    rescale = several(source.get("RescaleIntercept")) + several(source.get("RescaleSlope"))
    return signed(dataset) or any(number < 0 for number in rescale)


def linear(center: float, width: float) -> Voi:
    """C.11.2.1.2.1."""

    def voi(x: float) -> float:
        if x <= center - 0.5 - (width - 1) / 2:
            return 0.0
        if x > center - 0.5 + (width - 1) / 2:
            return 1.0
        return (x - (center - 0.5)) / (width - 1) + 0.5

    return voi


def linear_exact(center: float, width: float) -> Voi:
    """C.11.2.1.3.2."""

    def voi(x: float) -> float:
        if x <= center - width / 2:
            return 0.0
        if x > center + width / 2:
            return 1.0
        return (x - center) / width + 0.5

    return voi


def sigmoid(center: float, width: float) -> Voi:
    """C.11.2.1.3.1."""

    def voi(x: float) -> float:
        exponent = -4 * (x - center) / width
        return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0

    return voi


FORMULAS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


def own_voi(dataset: Dataset, frame: int, index: int = 0) -> Voi | None:
    """C.11.2, C.7.6.16.2.10: the VOI LUT or window `index` of the file, None where it has none."""
    source = group(dataset, frame, "FrameVOILUTSequence") or dataset
    luts = source.get("VOILUTSequence") or []
    if index < len(luts):
        first, bits, entries = table(luts[index], dataset, negative=output_is_signed(dataset, frame))

        def voi(x: float) -> float:
            at = math.floor(x + 0.5) - first
            return entries[min(max(at, 0), len(entries) - 1)] / (2**bits - 1)

        return voi
    centers, widths = several(source.get("WindowCenter")), several(source.get("WindowWidth"))
    function = str(source.get("VOILUTFunction", "") or "LINEAR")
    if index >= min(len(centers), len(widths)) or widths[index] < (1 if function == "LINEAR" else 1e-9):
        return None
    return FORMULAS[function](centers[index], widths[index])


# Presentation


def padding(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """C.7.5.1.1.2, C.7.6.24: which stored values stand for nothing."""
    if values.dtype.kind == "f":
        kind = "DoubleFloat" if "DoubleFloatPixelData" in dataset else "Float"
        ends = [dataset.get(f"{kind}PixelPaddingValue"), dataset.get(f"{kind}PixelPaddingRangeLimit")]
    else:
        ends = [dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")]
        if signed(dataset):  # an unsigned reading of a negative number
            ends = [e - 65536 if isinstance(e, int) and e > 32767 else e for e in ends]
        else:
            ends = [e + 65536 if isinstance(e, int) and e < 0 else e for e in ends]
    if ends[0] is None:
        return ~np.isfinite(values)
    other = ends[0] if ends[1] is None else ends[1]
    low, high = min(ends[0], other), max(ends[0], other)
    return ((values >= low) & (values <= high)) | ~np.isfinite(values)


def displayed(dataset: Dataset, frame: int, voi: Voi, white: int = 255) -> np.ndarray:
    """The greys of a frame, 0 to `white`, rounded half up; padding is black."""
    values = stored_values(dataset, frame)
    rescale = modality(dataset, frame)
    turned = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    nothing = padding(dataset, values)
    unique, where = np.unique(np.where(nothing, 0, values), return_inverse=True)
    greys = np.array([math.floor(min(max(voi(rescale(v)) * white, 0), white) + 0.5) for v in unique.tolist()])
    greys = white - greys if turned else greys
    return np.where(nothing, 0, greys[where].reshape(values.shape))


# Colour


def coloured(dataset: Dataset, frame: int) -> np.ndarray:
    """RGB (rows, columns, 3), 0 to 255: C.7.6.3.1.2, C.7.9. Deeper samples give their upper 8 bits."""
    values = stored_values(dataset, frame)
    space = str(dataset.PhotometricInterpretation)
    if space == "PALETTE COLOR":
        return np.stack([palette(dataset, name, values) for name in ("Red", "Green", "Blue")], axis=-1)
    bits = int(dataset.BitsStored)
    if space in ("YBR_FULL", "YBR_FULL_422"):
        half, most = 2 ** (bits - 1), 2**bits - 1
        forward = np.array([[0.299, 0.587, 0.114], [0, 0, 0], [0, 0, 0]])
        forward[1] = (np.array([0, 0, 1]) - forward[0]) / (2 * (1 - 0.114))
        forward[2] = (np.array([1, 0, 0]) - forward[0]) / (2 * (1 - 0.299))
        rgb = (values - [0, half, half]) @ np.linalg.inv(forward).T
        values = np.clip(np.floor(np.round(rgb, 9) + 0.5), 0, most).astype(np.int64)
    return values >> (bits - 8)


def palette(dataset: Dataset, name: str, values: np.ndarray) -> np.ndarray:
    """One channel, 0 to 255, of a palette as descriptor and data say (C.7.6.3.1.5, C.7.6.3.1.6)."""
    count, first, bits = (int(v) for v in dataset[f"{name}PaletteColorLookupTableDescriptor"].value)
    count = count or 65536
    segments = dataset.get(f"Segmented{name}PaletteColorLookupTableData")
    if segments:
        order = byte_order(dataset)
        entries = expanded(np.frombuffer(segments, f"{order}u2" if bits == 16 else np.uint8).tolist(), bits)
    else:
        data = dataset[f"{name}PaletteColorLookupTableData"].value
        if len(data) < 2 * count:
            bits = 8
            data = np.frombuffer(data, byte_order(dataset) + "u2").astype("<u2").tobytes()
            entries = list(data)
        else:
            entries = np.frombuffer(data, byte_order(dataset) + "u2").tolist()
    at = np.clip(values - first, 0, count - 1)
    return np.array(entries[:count])[at] >> (bits - 8)


def expanded(data: list[int], bits: int) -> list[int]:
    """C.7.9.2: discrete, linear and indirect segments."""
    out: list[int] = []

    def segment(at: int, *, nested: bool) -> int:
        kind, length = data[at], data[at + 1]
        if kind == 0:
            out.extend(data[at + 2 : at + 2 + length])
            return at + 2 + length
        if kind == 1:
            start = out[-1]
            out.extend(math.floor(start + (data[at + 2] - start) * k / length + 0.5) for k in range(1, length + 1))
            return at + 3
        assert kind == 2 and not nested
        parts = data[at + 2 : at + 2 + 32 // bits]
        source = sum(part * 2 ** (bits * k) for k, part in enumerate(parts)) * 8 // bits
        for _ in range(length):
            source = segment(source, nested=True)
        return at + 2 + 32 // bits

    at = 0
    while at + 1 < len(data):
        at = segment(at, nested=False)
    return out
