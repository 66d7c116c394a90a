"""CPU seconds per slice from DICOM files to PNG files, against the naive recipe and against what cannot be avoided.

    python -m medillus_pipeline_tests.benchmarks.slices_speed [--files 105] [--rounds 5] [--preset soft-tissue]
    python -m medillus_pipeline_tests.benchmarks.slices_speed --decoders [--peers FOLDER]

Native 512 x 512 CT, real slices where the shared data lie beside the checkout, made ones for the rest (noise, which no
writer can make small). The naive recipe is pydicom's `pixel_array`, a clip in floating point, and Pillow's default PNG.
The floor reads the same files and has ISA-L deflate the very bytes that our PNGs hold, at the same level; once without
and once with writing them. Every turn runs in a process of its own, turns alternate, the median counts; the first files
of a process are not counted.

`--decoders` compares our decoding of JPEG-LS and JPEG 2000 with other packages of PyPI, from a folder that
`pip install --target` put them in. How time and memory grow with a delivery is not measured here (`slices_scale.py`).
"""

import argparse
import io
import multiprocessing
import os
import resource
import shutil
import statistics
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from medillus_pipeline.dicom.decoding import decode
from medillus_pipeline.dicom.slices import render_delivery
from medillus_pipeline.dicom.windows import PRESETS
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.benchmarks.ct_corpus import write_corpus

WARM_UP = 5
GOALS = {"naive": 5.0, "size": 1.05, "floor": 1.5}


def cpu_seconds() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def row_of(path: Path, number: int) -> dict[str, Any]:
    """What INSTANCES says of a file of the corpus, as far as rendering asks."""
    header = dcmread(path, stop_before_pixels=True)
    return {
        "sop_instance_uid": f"2.25.{number}",
        "series_instance_uid": str(header.SeriesInstanceUID),
        "study_instance_uid": str(header.StudyInstanceUID),
        "frame_of_reference_uid": None,
        "patient": "p-0000000000000000",
        "split_token": "0" * 32,
        "modality": "CT",
        "body_part": None,
        "frames": 1,
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "path": path.name,
    }


def ours(files: list[Path], target: Path, preset: str) -> float:
    """CPU seconds per slice of `render_delivery`, in this process."""
    target.mkdir()
    for path in files:
        (target / path.name).hardlink_to(path)
    zone = Zone(target.as_uri())
    rows = [row_of(path, number) for number, path in enumerate(files)]
    render_delivery(rows, zone, window=preset, remembering=False)
    for picture in (target / "slices").rglob("*.png"):  # its folders stay, as in a store that has been used before
        picture.unlink()
    began = cpu_seconds()
    made = render_delivery(rows, zone, window=preset, remembering=False)
    spent = cpu_seconds() - began
    if len(made.slices) != len(files):
        raise ValueError(f"not all slices were rendered: {made.skipped}")
    return spent / len(files)


def naive(files: list[Path], target: Path, preset: str) -> float:
    """CPU seconds per slice of the recipe that everybody writes first."""
    window = PRESETS[preset]
    low = window.center - window.width / 2

    def show(path: Path) -> None:
        dataset = dcmread(path)
        values = dataset.pixel_array.astype(float) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        greys = (np.clip((values - low) / window.width, 0, 1) * 255).astype(np.uint8)
        Image.fromarray(greys).save(target / f"{path.stem}.png")

    return _each(show, files, target)


def floor(files: list[Path], target: Path, preset: str, pictures: Path, writing: bool) -> float:
    """CPU seconds per slice to read the file and deflate what one of our PNGs holds, with or without writing it."""
    pngs = sorted(pictures.rglob("*.png"))
    contents = {path: _inflated(pngs[n % len(pngs)].read_bytes()) for n, path in enumerate(files)}

    def show(path: Path) -> None:
        with path.open("rb", buffering=0) as handle:
            handle.read()
        packed = isal_zlib.compress(contents[path], 1)
        if writing:
            (target / f"{path.stem}.png").write_bytes(packed)

    return _each(show, files, target)


def _each(act: Callable[[Path], None], files: list[Path], target: Path) -> float:
    bytearray(16 << 20)  # our own process keeps its heap in the same way
    target.mkdir()
    for path in files[:WARM_UP]:
        act(path)
    began = cpu_seconds()
    for path in files:
        act(path)
    return (cpu_seconds() - began) / len(files)


def _inflated(png: bytes) -> bytes:
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    return zlib.decompress(png[start + 4 : start + 4 + length])


def in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def compare(place: Path, files: list[Path], rounds: int, preset: str) -> None:
    """All four in turns; prints the table and the ratios."""
    kept, plain = place / "kept", place / "plain"
    in_own_process(ours, files, kept, preset)
    in_own_process(naive, files, plain, preset)
    turns: dict[str, list[float]] = {"naive": [], "ours": [], "floor": [], "floor, written": []}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(turns):
            target = place / "turn"
            if name == "ours":
                spent = in_own_process(ours, files, target, preset)
            elif name == "naive":
                spent = in_own_process(naive, files, target, preset)
            else:
                spent = in_own_process(floor, files, target, preset, kept / "slices", name != "floor")
            turns[name].append(spent)
            shutil.rmtree(target)
    print(f"{len(files)} CT slices, {preset}, one process, median of {rounds} rounds, microseconds of CPU per slice")
    for name, spent in turns.items():
        low, high = 1e6 * min(spent), 1e6 * max(spent)
        print(f"{name:<16}{1e6 * statistics.median(spent):>8.0f}   ({low:.0f} to {high:.0f})")
    middle = {name: statistics.median(spent) for name, spent in turns.items()}
    size = _bytes(kept / "slices") / _bytes(plain)
    print(f"times as fast as naive   {middle['naive'] / middle['ours']:>6.2f}   goal: at least {GOALS['naive']}")
    print(f"size against Pillow's    {size:>6.3f}   goal: at most {GOALS['size']}")
    for name in ("floor", "floor, written"):
        print(f"times the {name:<15}{middle['ours'] / middle[name]:>6.2f}   goal: at most {GOALS['floor']}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.png"))


def decoders(files: list[Path], peers: Path | None, rounds: int) -> None:
    """Our decoding of compressed slices against other packages'; prints the ratios."""
    if peers is not None:
        sys.path.append(str(peers))
    for name, syntax in (("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless)):
        datasets = [_compressed(path, syntax) for path in files]
        streams = [_stream(dataset) for dataset in datasets]
        turns: dict[str, list[float]] = {}
        for _ in range(rounds):
            turns.setdefault("ours", []).append(_cpu(lambda d: decode(d, 1, raw=True), datasets))
            for peer, function in _peers(name).items():
                turns.setdefault(peer, []).append(_cpu(function, streams))
        best = min(statistics.median(spent) for peer, spent in turns.items() if peer != "ours")
        for peer, spent in turns.items():
            print(f"{name:<10}{peer:<26}{1e6 * statistics.median(spent):>8.0f} microseconds of CPU")
        print(f"{name:<10}times as fast as the fastest other: {best / statistics.median(turns['ours']):.2f}")


def _compressed(path: Path, syntax: Any) -> Dataset:
    dataset = dcmread(path)
    dataset.compress(syntax)
    sink = io.BytesIO()
    dataset.save_as(sink, enforce_file_format=True)
    return dcmread(io.BytesIO(sink.getvalue()))


def _stream(dataset: Dataset) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _peers(name: str) -> dict[str, Callable[[bytes], Any]]:
    found: dict[str, Callable[[bytes], Any]] = {}
    wanted = {
        "JPEG-LS": [("imagecodecs", "jpegls_decode"), ("jpeg_ls", "decode_buffer")],
        "JPEG 2000": [("imagecodecs", "jpeg2k_decode"), ("openjpeg", "decode")],
    }
    for package, function in wanted[name]:
        try:
            found[f"{package}.{function}"] = getattr(import_module(package), function)
        except (ImportError, AttributeError) as error:
            print(f"{package}.{function} is not there ({type(error).__name__})")
    return found


def _cpu(act: Callable[[Any], Any], given: list[Any]) -> float:
    began = time.process_time()
    for each in given:
        act(each)
    return (time.process_time() - began) / len(given)


def main() -> None:
    """Write the files, run what is asked for, print."""
    parser = argparse.ArgumentParser(description="CPU seconds per slice from DICOM files to PNG files")
    parser.add_argument("--files", type=int, default=105, help="CT slices of 0.5 MB each; 105 real ones at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--preset", default="soft-tissue", choices=sorted(PRESETS))
    parser.add_argument("--folder", type=Path, help="where files are kept meanwhile; the temporary folder by default")
    parser.add_argument("--decoders", action="store_true", help="compare decoders of JPEG-LS and JPEG 2000")
    parser.add_argument("--peers", type=Path, help="folder that pip install --target put other packages in")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        place = Path(name)
        files = write_corpus(place / "corpus", arguments.files)
        if arguments.decoders:
            decoders(files[:10], arguments.peers, arguments.rounds)
        else:
            compare(place, files, arguments.rounds, arguments.preset)


if __name__ == "__main__":
    main()
