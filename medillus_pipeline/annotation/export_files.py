"""The files of one series for annotators, in each format, as bytes by the path that they get in the folder.

Every file comes back, through `submission.py`, to the label maps that it was made of. What is not here: which slices
(`export_choice.py`), what goes into which file (`export_parts.py`), the folder (`export.py`).
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from medillus_pipeline import __version__
from medillus_pipeline.annotation.export_choice import Chosen
from medillus_pipeline.annotation.export_format import Format
from medillus_pipeline.annotation.export_parts import Regions, files_of, label_map, lost, painted, visible, with_layers
from medillus_pipeline.annotation.formats.label_names import write_itk_snap
from medillus_pipeline.annotation.formats.label_volume import PROPOSED
from medillus_pipeline.annotation.formats.labelme_writing import write_labelme
from medillus_pipeline.annotation.formats.nifti_writing import write_label_nifti
from medillus_pipeline.annotation.formats.segment_coding import Algorithm
from medillus_pipeline.annotation.formats.segmentation_writing import write_segmentation
from medillus_pipeline.annotation.label_map import Region
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.vocabulary import Structure, Vocabulary
from medillus_pipeline.dicom.reading import silenced
from medillus_pipeline.errors import InputError


@dataclass(frozen=True)
class Options:
    """How files are written: `read` gives a payload of the clean zone; `model` is who drew, where a model did; `moment`
    is the content time of segmentations, `label_map_segmentation` their kind.
    """

    format: Format
    vocabulary: Vocabulary
    read: Callable[[str], bytes]
    moment: datetime
    label_map_segmentation: bool = False
    model: Algorithm | None = None


@dataclass
class SeriesFiles:
    """Files by path, entries of `index.json`, structures that NIfTI files name, and how many layers no file holds."""

    files: dict[str, bytes] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    structures: set[Structure] = field(default_factory=set)
    layers_lost: int = 0


def series_files(chosen: Sequence[Chosen], rows: Sequence[Mapping[str, Any]], options: Options) -> SeriesFiles:
    """The files of one series; `rows` are the rows of SLICES of all its slices. Raises InputError, saying what to do,
    when the series cannot be written in this format, FileNotFoundError when a payload is gone.
    """
    index = SliceIndex(rows)
    maps = {each.slice["slice_name"]: label_map(each, options.read) for each in chosen}
    match options.format:
        case Format.LABELME:
            return _labelme(chosen, maps, options)
        case Format.DICOM_SEG:
            return _segmentations(chosen, maps, index, options)
        case Format.NIFTI:
            return _nifti(chosen, maps, list(index.by_name.values()), options)


def _labelme(chosen: Sequence[Chosen], maps: Mapping[str, np.ndarray], options: Options) -> SeriesFiles:
    made = SeriesFiles()
    for each in chosen:
        name = each.slice["slice_name"]
        parts = with_layers([each], {name: maps[name]}, options.vocabulary)
        made.layers_lost += lost([each], parts)
        if parts:
            made.files[f"{name}.png"] = options.read(each.slice["path"])
        for number, part in enumerate(parts, start=1):
            folder, picture = ("", f"{name}.png") if number == 1 else (f"unions-{number}/", f"../{name}.png")
            made.files[f"{folder}{name}.json"] = _shapes(each, part[name], picture, options)
    return made


def _shapes(chosen: Chosen, regions: Mapping[int, Region], picture: str, options: Options) -> bytes:
    """One LabelMe file, in which structures may lie over one another: written sheet by sheet, each without overlap."""
    sheets: list[np.ndarray] = []
    for identifier, region in sorted(regions.items()):
        sheet = next((s for s in sheets if not s[region.window][region.mask].any()), None)
        if sheet is None:
            sheet = np.zeros((chosen.slice["rows"], chosen.slice["columns"]), np.uint8)
            sheets.append(sheet)
        sheet[region.window][region.mask] = identifier
    name, confidence = chosen.slice["slice_name"], chosen.proposed.confidence if chosen.proposed else None
    files = [write_labelme(name, sheet, options.vocabulary, picture, confidence) for sheet in sheets]
    if len(files) == 1:
        return files[0]
    documents = [json.loads(file) for file in files]
    together = documents[0] | {"shapes": [shape for document in documents for shape in document["shapes"]]}
    return json.dumps(together, ensure_ascii=False, indent=1).encode()


def _segmentations(
    chosen: Sequence[Chosen], maps: Mapping[str, np.ndarray], index: SliceIndex, options: Options
) -> SeriesFiles:
    if options.label_map_segmentation:
        files = files_of({name: visible(values) for name, values in maps.items()}, options.vocabulary)
    else:
        files = with_layers(chosen, maps, options.vocabulary)
    made = SeriesFiles(layers_lost=lost(chosen, files))
    sources = {each.slice["slice_name"]: _source(each, options) for each in chosen}
    for part in files:
        for names in _writable(sorted(part), sources, index):
            targets = [index.by_name[name] for name in names]
            instances = {str(sources[name].SOPInstanceUID): sources[name] for name in names}
            number = len(made.files) + 1
            path = f"{chosen[0].series}{f'-{number}' if number > 1 else ''}.dcm"
            made.files[path] = _segmentation(targets, {name: part[name] for name in names}, instances, options)
    return made


def _segmentation(targets: list[Target], part: Regions, instances: Mapping[str, Dataset], options: Options) -> bytes:
    try:
        return write_segmentation(
            targets,
            part,
            list(instances.values()),
            options.vocabulary,
            software_version=__version__,
            moment=options.moment,
            kind="LABELMAP" if options.label_map_segmentation else "BINARY",
            algorithm=options.model,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # what the library says of unusual sources
        raise InputError(
            "its instances lack what a DICOM segmentation refers to, such as a frame of reference: export labelme"
        ) from error


def _source(chosen: Chosen, options: Options) -> Dataset:
    with silenced():
        return dcmread(io.BytesIO(options.read(chosen.slice["instance_path"])), stop_before_pixels=True)


def _writable(names: Sequence[str], sources: Mapping[str, Dataset], index: SliceIndex) -> list[list[str]]:
    """The slices that one segmentation can refer to: of one size, and of one instance where it has several frames."""
    groups: dict[tuple[int, int, str], list[str]] = {}
    for name in names:
        target, source = index.by_name[name], sources[name]
        instance = target.sop_instance_uid if int(source.get("NumberOfFrames", 1) or 1) > 1 else ""
        groups.setdefault((target.rows, target.columns, instance), []).append(name)
    return list(groups.values())


def _nifti(
    chosen: Sequence[Chosen], maps: Mapping[str, np.ndarray], stack: Sequence[Target], options: Options
) -> SeriesFiles:
    made = SeriesFiles(layers_lost=sum(len(each.layers) for each in chosen))
    sizes = {target.slice_name: (target.rows, target.columns) for target in stack}
    words = options.vocabulary
    for number, part in enumerate(files_of({n: visible(v) for n, v in maps.items()}, words), start=1):
        stem = f"{chosen[0].series}{f'-{number}' if number > 1 else ''}"
        name = stem if options.model is None else f"{PROPOSED}-{stem}"
        shown = {slice_name: painted(regions, *sizes[slice_name]) for slice_name, regions in part.items()}
        data, entry = write_label_nifti(stack, shown, words, file=f"{name}.nii.gz")
        made.files[f"{name}.nii.gz"] = data
        structures = {words.by_id(int(value)) for value in entry["labels"]}
        if options.model is None:
            made.structures |= structures
        else:  # names that no vocabulary knows, until somebody confirms them
            made.files[f"{name}.label"] = _unconfirmed(structures)
            entry = {key: entry[key] for key in ("file", "series")}
        made.entries.append(entry)
    return made


def _unconfirmed(structures: set[Structure]) -> bytes:
    return write_itk_snap(replace(structure, key=f"{PROPOSED}: {structure.key}") for structure in structures)


def index_file(entries: Sequence[dict[str, Any]]) -> bytes:
    """The `index.json` of NIfTI files, by which they find their series."""
    return (json.dumps({"volumes": list(entries)}, indent=1) + "\n").encode()
