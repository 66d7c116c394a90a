"""CPU seconds to read annotations: an RT Structure Set of a whole chest, and LabelMe polygons.

    python -m medillus_pipeline_tests.benchmarks.annotation_speed [--rounds 5] [--peers FOLDER]

The structure set is that of the shared data beside the checkout (9 structures, 105 slices of 512 x 512), read from its
bytes to regions, and to composed label maps. `--peers` is a folder that `pip install --target` put rt-utils and
opencv-python-headless in: rt-utils makes its masks of the same 9 regions of interest from the same bytes, with the
headers of the series already loaded, in the same process and in turns. It asks for a sequence that this structure set
does not have; it gets one, outside the time. The LabelMe files are made: blobs of 100 points, half of them small.
"""

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from medillus_pipeline.annotation import vocabulary
from medillus_pipeline.annotation.formats import labelme, rtstruct
from medillus_pipeline.annotation.formats.labelme_writing import write_labelme
from medillus_pipeline.annotation.label_map import compose
from medillus_pipeline.annotation.references import References
from medillus_pipeline.annotation.slice_index import SliceIndex
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline_tests.annotation.published import row, rows_of_files
from medillus_pipeline_tests.conftest import REPOSITORY

REAL = REPOSITORY.parent / "shared" / "data" / "ct_thorax_rt"
POLYGONS, POINTS, SIDE = 500, 100, 512
GOALS = {"seconds": 2.0, "ratio": 5.0, "polygons": 2000.0}


def cpu(act: Callable[[], object]) -> float:
    """CPU seconds of this process that a call takes."""
    began = time.process_time()
    act()
    return time.process_time() - began


def structure_set(rounds: int, peers: Path | None) -> None:
    """Ours, and rt-utils where it is there, in turns; prints medians and the ratio."""
    pseudonymiser = Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)
    rows, files = rows_of_files(REAL / "ct", pseudonymiser)
    index, words = SliceIndex(rows), vocabulary.load()
    data = (REAL / "RS.dcm").read_bytes()

    def regions() -> object:
        return rtstruct.read(data, References(index, pseudonymiser), index, words)

    def label_maps() -> object:
        drawn = rtstruct.read(data, References(index, pseudonymiser), index, words)
        targets = ((index.by_name[name], found) for name, found in drawn.regions.items())
        return [compose(found, target.rows, target.columns, words) for target, found in targets]

    began = time.process_time()
    regions()
    first = time.process_time() - began
    turns: dict[str, Callable[[], object]] = {"ours, regions": regions, "ours, label maps": label_maps}
    if peers is not None:
        sys.path.append(str(peers))
        turns["rt-utils, masks"] = _rt_utils(data, list(files.values()))
    spent = _in_turns(turns, rounds)
    print(f"RT Structure Set: 9 structures on {len(rows)} slices, median of {rounds} rounds, seconds of CPU")
    for name, times in spent.items():
        print(f"{name:<20}{statistics.median(times):>8.3f}   ({min(times):.3f} to {max(times):.3f})")
    print(f"{'ours, the first time':<20}{first:>8.3f}   goal: under {GOALS['seconds']}")
    if peers is not None:
        for name in ("ours, regions", "ours, label maps"):
            ratio = statistics.median(spent["rt-utils, masks"]) / statistics.median(spent[name])
            print(f"{name} against rt-utils: {ratio:.1f} times as fast   goal: at least {GOALS['ratio']}")


def _rt_utils(data: bytes, files: list[Path]) -> Callable[[], object]:
    image_helper, made = import_module("rt_utils.image_helper"), import_module("rt_utils.rtstruct").RTStruct
    series = [dcmread(path, stop_before_pixels=True) for path in files]
    series.sort(key=image_helper.get_slice_position)

    def masks() -> object:
        dataset = dcmread(io.BytesIO(data))
        space = Dataset()
        space.FrameOfReferenceUID = series[0].FrameOfReferenceUID
        dataset.ReferencedFrameOfReferenceSequence = Sequence([space])
        structures = made(series, dataset)
        return [int(structures.get_roi_mask_by_name(name).sum()) for name in structures.get_roi_names()]

    return masks


def polygons(rounds: int) -> None:
    """LabelMe polygons read, and label maps written as polygons; prints how many a second."""
    pseudonymiser = Pseudonymiser(key=b"k" * 32, split_salt=b"s" * 32)
    published = row(pseudonymiser, "1.2.3.4.0", rows=SIDE, columns=SIDE)
    index, words = SliceIndex([published]), vocabulary.load()
    name = published["slice_name"]
    keys = [s.key for s in words if s.kind == "organ"]
    rng = np.random.default_rng(1)
    shapes = []
    for number in range(POLYGONS):
        radius = rng.uniform(5, 20) if number % 2 else rng.uniform(20, 100)
        angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
        radii = radius * (1 + 0.15 * np.sin(3 * angles + rng.uniform(0, 6)))
        points = rng.uniform(120, SIDE - 120, 2) + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        shapes.append({"label": keys[number % len(keys)], "points": points.tolist(), "shape_type": "polygon"})
    document = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": SIDE, "imageWidth": SIDE}
    data = json.dumps(document).encode()
    drawn = labelme.read(data, f"{name}.json", index, words)
    label_map = compose(drawn.regions[name], SIDE, SIDE, words).values
    spent = _in_turns(
        {
            "read": lambda: labelme.read(data, f"{name}.json", index, words),
            "written": lambda: write_labelme(name, label_map, words, f"{name}.png"),
        },
        rounds,
    )
    read = POLYGONS / statistics.median(spent["read"])
    print(f"LabelMe: {POLYGONS} polygons of {POINTS} points on {SIDE} x {SIDE}, median of {rounds} rounds")
    print(f"{read:>8.0f} polygons read a second of CPU   goal: at least {GOALS['polygons']:.0f}")
    print(f"{statistics.median(spent['written']):>8.3f} seconds of CPU to write the label map of all of them")


def _in_turns(turns: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(turns):
            spent[name].append(cpu(turns[name]))
    return spent


def main() -> None:
    """Measure what is there, print."""
    parser = argparse.ArgumentParser(description="CPU seconds to read annotations")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="folder that pip install --target put rt-utils in")
    arguments = parser.parse_args()
    if (REAL / "RS.dcm").is_file():
        structure_set(arguments.rounds, arguments.peers)
    else:
        print("RT Structure Set: the real test data (../shared/data) are not beside this checkout")
    polygons(arguments.rounds)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
