"""A whole cohort in a landing zone: deliveries of identified CT series and annotation batches for them.

Each delivery also holds what real ones hold: an index, a note, a duplicate, a broken file and a screenshot with a name
burned in; one patient of the cohort comes in a zip archive. All markers say that the data are synthetic.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np

from medillus_pipeline.annotation.study import labels_csv
from medillus_pipeline.deidentification.pseudonyms import Pseudonymiser
from medillus_pipeline.phantom import annotations, delivery, dicom, study_labels
from medillus_pipeline.phantom.anatomy import Phantom, torso
from medillus_pipeline.phantom.delivery import write
from medillus_pipeline.phantom.folders import PER_DELIVERY, batch_names, delivery_names
from medillus_pipeline.phantom.identities import Identity, identity
from medillus_pipeline.phantom.lesions import Key, Lesion, lesion_of

EXTENT = (240.0, 409.6, 409.6)
"""Height, depth and width of the volume in mm, whatever its shape in voxels."""
FORMATS = ("labelme", "rtstruct", "nifti")
"""Patients take turns: each format is used by every third patient."""
ANNOTATORS = {
    "labelme": "Halvorsen Ingrid",
    "rtstruct": "Barrington^Clement",
    "nifti": "Dr. Yamanouchi",
    "second": "Pellegrino Fiorella",
}
Format = Literal["labelme", "rtstruct", "nifti"]


@dataclass(frozen=True)
class Cohort:
    """What was written, and what must never be seen again on the clean side.

    `deliveries` and `batches` are folder names under `images/` and `annotations/`; `identifiers` every planted string
    of 5 characters or more; `dates` the DICOM dates; `expected` files of the deliveries (members of archives included)
    by the outcome that ingest should give them; `masks` slices with labels by batch folder; `labels` lines of the
    `labels.csv` that it holds.
    """

    patients: int
    slices: int
    deliveries: list[str]
    batches: list[str]
    identifiers: list[str] = field(repr=False)
    dates: list[str] = field(repr=False)
    expected: dict[str, int]
    masks: dict[str, int]
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    landing: Path
    index: int
    seed: int
    shape: tuple[int, int, int]
    delivery: str
    first: bool
    zipped: bool
    lesions: bool
    pseudonymiser: Pseudonymiser = field(repr=False)
    batches: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class _Written:
    index: int
    labelled: int
    second: int
    volume: dict[str, object] | None


def patient(
    seed: int, index: int, shape: tuple[int, int, int] = (40, 256, 256), *, lesions: bool = False
) -> tuple[Phantom, Identity]:
    """The cohort's patient number `index` (from 0): voxels and identity. Independent of how many patients there are.

    With `lesions` every fourth patient has a nodule in a lung and every fourth a cyst in the liver.
    """
    body, person, disease = np.random.SeedSequence([seed, index]).spawn(3)
    slices, rows, columns = shape
    spacing = (EXTENT[0] / slices, EXTENT[1] / rows, EXTENT[2] / columns)
    key = lesion_of(index) if lesions else None
    lesion = Lesion(key, np.random.default_rng(disease)) if key else None
    phantom = torso(np.random.default_rng(body), shape=shape, spacing=spacing, lesion=lesion)
    return phantom, identity(np.random.default_rng(person), index, slices)


def placement(index: int) -> dicom.Placement:
    """How the patient's series is stored: hospitals differ in transfer syntax and in signedness."""
    encoding: dicom.Encoding = "rle" if index % 8 == 5 else "implicit" if index % 3 == 1 else "explicit"
    return dicom.Placement(encoding=encoding, table_height=-900.0 + 12.5 * (index % 40), signed=index % 2 == 1)


def annotated_as(index: int) -> Format:
    """The format in which the patient's annotation is submitted."""
    return ("labelme", "rtstruct", "nifti")[index % 3]


def write_cohort(
    landing: Path,
    pseudonymiser: Pseudonymiser,
    *,
    patients: int = 16,
    seed: int = 20260101,
    shape: tuple[int, int, int] = (40, 256, 256),
    workers: int = 2,
    lesions: bool = False,
    labels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Write deliveries and annotation batches under `landing` and close each with `_READY`.

    `shape` is (slices, rows, columns) of each series; the volume keeps its size in mm. With `workers` above 1 patients
    are spread over that many spawned processes. `lesions` plants some in images and masks (see `patient`); `labels`
    adds a `labels.csv` of pathology and contrast phase to the batches. `progress` gets patients done and in all. The
    same arguments write the same bytes. Raises ValueError for fewer than one patient or slices and pixels too few for
    the anatomy.
    """
    if patients < 1 or min(shape) < 8:
        raise ValueError("a cohort has at least 1 patient, and a series at least 8 slices, rows and columns")
    people = [identity_of(seed, index, shape[0]) for index in range(patients)]
    deliveries = delivery_names(people)
    batches = batch_names(people)
    tasks = [
        _Task(
            landing=landing,
            index=index,
            seed=seed,
            shape=shape,
            delivery=deliveries[index // PER_DELIVERY],
            first=index % PER_DELIVERY == 0,
            zipped=index == min(2, patients - 1),
            lesions=lesions,
            pseudonymiser=pseudonymiser,
            batches=batches,
        )
        for index in range(patients)
    ]
    written = []
    for done, result in enumerate(_run(tasks, workers), start=1):
        written.append(result)
        if progress:
            progress(done, patients)
    written.sort(key=lambda result: result.index)
    lines = _write_labels(landing, pseudonymiser, people, batches, lesions=lesions) if labels else {}
    used = _close(landing, deliveries, batches, written)
    planted = {*deliveries, *used, *ANNOTATORS.values()}
    planted |= {word for name in ANNOTATORS.values() for word in name.replace("^", " ").split()}
    planted |= {text for who in people for text in who.planted()}
    return Cohort(
        patients=patients,
        slices=patients * shape[0],
        deliveries=deliveries,
        batches=used,
        identifiers=sorted(text for text in planted if len(text) >= 5),
        dates=sorted({day for who in people for day in who.dates()}),
        expected={
            "published": patients * shape[0],
            "duplicate": len(deliveries),
            "directory": len(deliveries),
            "not_dicom": len(deliveries),
            "quarantined": 2 * len(deliveries),
        },
        masks=_mask_counts(batches, written),
        labels=lines,
    )


def identity_of(seed: int, index: int, slices: int) -> Identity:
    """The identity alone, without drawing the body."""
    return identity(np.random.default_rng(np.random.SeedSequence([seed, index]).spawn(2)[1]), index, slices)


def _run(tasks: list[_Task], workers: int) -> Iterator[_Written]:
    if workers <= 1 or len(tasks) == 1:
        yield from map(_write_patient, tasks)
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_write_patient, task) for task in tasks]):
            yield future.result()


def _write_patient(task: _Task) -> _Written:
    phantom, who = patient(task.seed, task.index, task.shape, lesions=task.lesions)
    where = placement(task.index)
    folder = task.landing / "images" / task.delivery
    files = dicom.series(phantom, who, where)
    delivery.write_series(folder, task.index, who, files, zipped=task.zipped)
    if task.first:
        delivery.write_oddities(folder, who, files)
    kind = annotated_as(task.index)
    target = task.landing / "annotations" / task.batches[kind]
    labelled = int(phantom.labels.any(axis=(1, 2)).sum())
    volume: dict[str, object] | None = None
    second = 0
    if kind == "labelme":
        drawn = annotations.labelme(phantom, who, task.pseudonymiser, stray=task.index == 0)
        for name, data in drawn.items():
            write(target / name, data)
        if task.index == 0:
            middle = range(task.shape[0] // 2, task.shape[0] // 2 + 3)
            again = annotations.labelme(phantom, who, task.pseudonymiser, slices=middle, hand=1)
            second = len(again)
            for name, data in again.items():
                write(task.landing / "annotations" / task.batches["second"] / name, data)
    elif kind == "rtstruct":
        data = annotations.structure_set(phantom, who, where, ANNOTATORS["rtstruct"])
        write(target / who.folder_name / "RS.dcm", data)
    else:
        data, legend = annotations.nifti(phantom, where)
        name = f"{who.folder_name}_organs.nii.gz"
        write(target / name, data)
        volume = {"file": name, "labels": legend}
        if task.index % 2:
            volume["series"] = task.pseudonymiser.uid(who.series_uid)
        else:
            volume["series_instance_uid"] = who.series_uid
    return _Written(task.index, labelled, second, volume)


def _write_labels(
    landing: Path,
    pseudonymiser: Pseudonymiser,
    people: list[Identity],
    batches: dict[str, str],
    *,
    lesions: bool,
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind in FORMATS:
        patients: list[tuple[Identity, Key | None]] = [
            (who, lesion_of(index) if lesions else None)
            for index, who in enumerate(people)
            if annotated_as(index) == kind
        ]
        if patients:
            drawn_here = kind == "labelme"
            data = study_labels.by_slice(patients, pseudonymiser) if drawn_here else study_labels.by_series(patients)
            write(landing / "annotations" / batches[kind] / labels_csv.NAME, data)
            counts[batches[kind]] = len(patients)
    return counts


def _mask_counts(batches: dict[str, str], written: list[_Written]) -> dict[str, int]:
    counts = {batches["second"]: sum(result.second for result in written)}
    for kind in FORMATS:
        counts[batches[kind]] = sum(result.labelled for result in written if annotated_as(result.index) == kind)
    return {folder: count for folder, count in sorted(counts.items()) if count}


def _close(
    landing: Path,
    deliveries: list[str],
    batches: dict[str, str],
    written: list[_Written],
) -> list[str]:
    """Write indices, annotators and markers; returns the annotation folders. Every second delivery gets no label, so
    that its partition key is a hash of the folder's name.
    """
    used = [kind for kind in (*FORMATS, "second") if (landing / "annotations" / batches[kind]).is_dir()]
    volumes = [result for result in written if result.volume is not None]
    if volumes:
        index = [result.volume for result in volumes]
        write(landing / "annotations" / batches["nifti"] / "index.json", _json({"volumes": index}))
    for kind in used:
        folder = landing / "annotations" / batches[kind]
        if kind == "labelme":
            write(folder / "annotator.txt", ANNOTATORS[kind].encode())
        else:
            write(folder / "batch.json", _json({"annotator": ANNOTATORS[kind], "revision": 1}))
        marker: dict[str, object] = {"synthetic": True}
        if kind != "second":
            marker["label"] = f"phantom-{kind}"
        write(folder / "_READY", _json(marker))
    for number, name in enumerate(deliveries):
        marker = {"synthetic": True}
        if number % 2 == 0:
            marker["label"] = f"phantom-{chr(ord('a') + number % 26)}"
        write(landing / "images" / name / "_READY", _json(marker))
    return [batches[kind] for kind in used]


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode()
