"""The check `drift` of `training_dataset`: the new dataset beside those that the champion and the last generator learnt
from. It warns and never blocks. What is measured is in `validation/drift.py`; here is where the parts are kept.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.errors import InputError
from medillus_pipeline.zones import Zone

if TYPE_CHECKING:
    from medillus_pipeline.validation.drift_profile import Acquisition

DRIFT = "drift"
MOST_SERIES = 300
"""Series whose headers are read, evenly over the dataset's; one file each."""

SPEC = dg.AssetCheckSpec(
    DRIFT,
    asset="training_dataset",
    description="Values, geometry, structures, scanners and mix of patients are those that the champion and the last "
    "trained generator learnt from. Warns, blocks nothing; without a trained generator there is nothing to compare.",
)


def trained_on(clean: Zone) -> dict[str, str]:
    """Manifest path by who learnt from that dataset: the champion and the last trained generator; once if it is one."""
    found: dict[str, str] = {}
    for name, document in (("champion", "promoted_generator"), ("last generator", "generator_checkpoint")):
        current = published.current(clean, document)
        if current is not None and current["dataset_manifest"] not in found.values():
            found[f"{name} (version {current['version']})"] = current["dataset_manifest"]
    return found


def check(
    clean: Zone,
    manifest: str,
    slices: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    references: Mapping[str, str],
) -> dg.AssetCheckResult:
    """The result for the snapshot at `manifest` against each of `references` (see `trained_on`). `slices` are rows of
    that table, for the headers of the series; `names` those of the vocabulary ids.
    """
    from medillus_pipeline.generation.dataset import load_snapshot
    from medillus_pipeline.validation.drift import compare
    from medillus_pipeline.validation.drift_profile import profile

    sentences, tables, drifted = [], [], 0
    instance_of = _one_instance_each(slices)
    headers: dict[str, Acquisition] = {}
    for who, path in references.items():
        if path == manifest:
            sentences.append(f"{who} learnt from this very dataset")
            continue
        try:
            before, now = load_snapshot(clean, path), load_snapshot(clean, manifest)
        except (InputError, FileNotFoundError) as error:
            drifted += 1
            why = error if isinstance(error, InputError) else "its files are gone"
            sentences.append(f"{who}: its dataset cannot be read any more ({why})")
            continue
        for row in _evenly([row for each in (before, now) for row in each.rows], MOST_SERIES):
            series = row["series_instance_uid"]
            if series not in headers and series in instance_of:
                headers[series] = acquisition(clean, instance_of[series])
        found = compare(profile(before, names, headers), profile(now, names, headers))
        drifted += len(found.drifted)
        sentences.append(f"{who}: {found.sentence()}")
        tables.append(f"**{who}**\n\n{found.table()}")
    said = "; ".join(sentences) or "no generator was trained yet: there is nothing to compare with"
    return dg.AssetCheckResult(
        check_name=DRIFT,
        passed=drifted == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "drifted": drifted,
            "compared_with": ", ".join(references) or "nothing",
            **({"comparisons": dg.MetadataValue.md("\n\n".join(tables))} if tables else {}),
        },
    )


def acquisition(clean: Zone, instance: Mapping[str, Any]) -> "Acquisition":
    """How a series was scanned, from one de-identified instance of it: `path`, `pixel_spacing` and `slice_spacing`."""
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO

    from medillus_pipeline.validation.drift_profile import Acquisition

    wanted = ["Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "KVP", "SliceThickness"]
    read = dcmread(DicomBytesIO(clean.read(instance["path"])), stop_before_pixels=True, specific_tags=wanted)
    millimetres = {
        "slice thickness, mm": read.get("SliceThickness"),
        "slice spacing, mm": instance.get("slice_spacing"),
        "scanned pixel, mm": (instance.get("pixel_spacing") or [None])[0],
    }
    maker = " ".join(str(read.get(name) or "") for name in wanted[:2]).strip()
    kernel, voltage = read.get("ConvolutionKernel"), read.get("KVP")
    terms = {
        "scanner": maker,
        "kernel": "+".join(map(str, kernel)) if isinstance(kernel, list) else str(kernel or ""),
        "tube voltage": f"{float(voltage):g} kV" if voltage else "",
    }
    return Acquisition(
        {name: float(value) for name, value in millimetres.items() if value},
        {name: value for name, value in terms.items() if value},
    )


def _one_instance_each(slices: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in slices:
        kept = {"path": row["instance_path"]} | {name: row.get(name) for name in ("pixel_spacing", "slice_spacing")}
        found.setdefault(row["series_instance_uid"], kept)
    return found


def _evenly(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """One row a series, at most so many, evenly over the series in the order of their names; none of the locked test:
    nothing looks at its patients before a promotion.
    """
    first = {row["series_instance_uid"]: row for row in reversed(rows) if row["split"] != "locked_test"}
    ordered = [first[name] for name in sorted(first)]
    return [ordered[i * len(ordered) // most] for i in range(most)] if len(ordered) > most else ordered
