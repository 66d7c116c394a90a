"""Masks, or a model's proposals, back to the annotators: a folder that their tools open, and that comes back as it is.

Series by series; one that a format cannot hold costs no other its place. What is not here: which slices
(`export_choice.py`), the files of a series (`export_files.py`), the folder (`export_folder.py`), and what a model
proposes (`generation/proposals.py`), which stands above this package.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medillus_pipeline.annotation.export_choice import Chosen
from medillus_pipeline.annotation.export_files import Options, SeriesFiles, index_file, series_files
from medillus_pipeline.annotation.export_folder import ExportFolder
from medillus_pipeline.annotation.export_format import Format
from medillus_pipeline.annotation.export_readme import README, readme
from medillus_pipeline.annotation.formats.label_names import write_itk_snap
from medillus_pipeline.annotation.formats.segment_coding import Algorithm
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.errors import InputError, MedillusError, StoreError
from medillus_pipeline.zones import Zone

INDEX, LABELS = "index.json", "structures.label"

STATUS = {
    0: "everything chosen was written",
    4: "some series were left out; a line says which and why",
}
"""Exit status of a finished export → what it says."""


@dataclass(frozen=True)
class Exported:
    """What was written: files that annotators draw in, slices and structures on them; series left out with the reason;
    structures drawn beneath others (layers) that the format cannot hold.
    """

    files: int
    slices: int
    structures: int
    left_out: dict[str, str]
    layers_lost: int

    @property
    def status(self) -> int:
        """Exit status: see `STATUS`."""
        return 4 if self.left_out else 0


def export_folder(
    chosen: Sequence[Chosen],
    slices: Iterable[dict[str, Any]],
    destination: Path,
    clean: Zone,
    vocabulary: Vocabulary,
    *,
    format: Format,
    moment: datetime,
    label_map_segmentation: bool = False,
    model: Algorithm | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write what is chosen into the folder `destination`: new, empty, or as an export left it.

    `slices` are rows of SLICES, at least all of the series concerned; `model` says who drew where the slices hold
    proposals. `progress` is called with (done, total) series. The same arguments give the same bytes. Raises InputError
    where the folder cannot be used or no series could be written, StoreError where reading or writing fails.
    """
    try:
        folder = ExportFolder(destination.expanduser().resolve())
        options = Options(format, vocabulary, clean.read, moment, label_map_segmentation, model)
        return _fill(folder, chosen, slices, options, progress)
    except MedillusError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
    raise StoreError(f"a folder or a payload cannot be read or written ({reason}): check it; then run again")


def _fill(
    folder: ExportFolder,
    chosen: Sequence[Chosen],
    slices: Iterable[dict[str, Any]],
    options: Options,
    progress: Callable[[int, int], None] | None,
) -> Exported:
    by_series: dict[str, list[Chosen]] = defaultdict(list)
    for each in chosen:
        by_series[each.series].append(each)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in slices:
        if row["series_instance_uid"] in by_series:
            rows[row["series_instance_uid"]].append(row)
    left_out: dict[str, str] = {}
    whole = SeriesFiles()
    written: list[Chosen] = []
    with folder.filling() as filling:
        for done, (uid, members) in enumerate(sorted(by_series.items()), start=1):
            try:
                made = series_files(members, rows[uid], options)
            except InputError as error:
                left_out[uid] = str(error)
            else:
                for path, data in made.files.items():
                    filling.add(path, data)
                whole.entries += made.entries
                whole.structures |= made.structures
                whole.layers_lost += made.layers_lost
                if made.files:
                    written += members
            if progress is not None:
                progress(done, len(by_series))
        drawings = len([path for path in filling.files if not path.endswith((".png", ".label"))])
        if not drawings:
            why = next(iter(left_out.values()), "only layers are drawn there, which this format cannot hold")
            raise InputError(f"no series could be written: {why}")
        if whole.entries:
            filling.add(INDEX, index_file(whole.entries))
        if whole.structures:
            filling.add(LABELS, write_itk_snap(whole.structures))
        filling.add(README, readme(options.format, [each for each in written if each.proposed]).encode())
    structures = {label for each in written for label in _labels(each)}
    return Exported(drawings, len(written), len(structures), left_out, whole.layers_lost)


def _labels(chosen: Chosen) -> Iterable[int]:
    if chosen.proposed is not None:
        return chosen.proposed.confidence
    return chosen.mask["labels"] if chosen.mask is not None else [row["label"] for row in chosen.layers]
