"""From drawings to what is published: one label map per slice, annotator and revision, and layers beside it.

Identity is (instance, frame, annotator, revision): a newer revision by the same annotator corrects, another annotator
is a second reader. What equals the mask in force to the last pixel is no revision. No file is read here
(`submission.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medillus_pipeline.annotation.label_map import OVERLAP_POLICY, LabelMap, Region, compose
from medillus_pipeline.annotation.layers import Covered, layer_of
from medillus_pipeline.annotation.outcomes import Outcome, Reason
from medillus_pipeline.annotation.receipt import Item
from medillus_pipeline.annotation.slice_index import SliceIndex, Target
from medillus_pipeline.annotation.study.label_revisions import LabelsInForce
from medillus_pipeline.annotation.vocabulary import Vocabulary
from medillus_pipeline.dicom.png import encode_png
from medillus_pipeline.zones import Zone

Rows = list[dict[str, Any]]
LAYER_REASONS = {
    Covered.PLANNING_TARGET: Reason.PLANNING_TARGET,
    Covered.UNION_OF_PARTS: Reason.UNION_OF_PARTS,
}


@dataclass(frozen=True)
class Drawn:
    """A structure on a slice: its region, the item it came from, and why it is a layer only, if it is."""

    region: Region
    item: Item
    layer: Covered | None


Gathered = dict[tuple[str, str], dict[int, Drawn]]
"""By (slice name, annotator): vocabulary id → what is drawn."""


@dataclass
class _InForce:
    """What one annotator published before on one slice; hash, labels and layers are those of the newest revision."""

    revisions: set[int] = field(default_factory=set)
    sha256: str = ""
    labels: tuple[int, ...] = ()
    layers: set[int] = field(default_factory=set)

    @property
    def newest(self) -> int:
        return max(self.revisions, default=0)

    def at(self, revision: int) -> bool:
        """Take note of a revision; whether it is the newest so far, before which nothing else counts."""
        if revision > self.newest:
            self.sha256, self.labels, self.layers = "", (), set()
        self.revisions.add(revision)
        return revision == self.newest


class Existing:
    """Masks, layers and labels (rows of MASKS, MASK_LAYERS, STUDY_LABELS) of the batches that arrived before.

    `arrival` is this batch's place in the order of arrival, from 1: the least revision that it gives. A batch may be
    published after a later one, when its slices came late; its revision is then still the lower of the two.
    """

    def __init__(
        self,
        masks: Iterable[Mapping[str, Any]],
        layers: Iterable[Mapping[str, Any]] = (),
        labels: Iterable[Mapping[str, Any]] = (),
        *,
        arrival: int = 1,
    ) -> None:
        self.arrival = arrival
        self._found: dict[tuple[str, str], _InForce] = defaultdict(_InForce)
        self.owners: list[dict[str, Any]] = []
        """Whose slice each label map lies on: rows of MASKS without all but `sha256`, `patient` and `slice_name`."""
        for row in masks:
            found = self._found[row["slice_name"], row["annotator"]]
            self.owners.append({key: row[key] for key in ("sha256", "patient", "slice_name")})
            if found.at(int(row["revision"])):
                found.sha256, found.labels = row["sha256"], tuple(row["labels"])
        for row in layers:
            found = self._found[row["slice_name"], row["annotator"]]
            if found.at(int(row["revision"])):
                found.layers.add(_essence(row))
        self.labels = LabelsInForce(labels, arrival)

    def __getitem__(self, place: tuple[str, str]) -> _InForce:
        return self._found.get(place, _InForce())


def _essence(layer: Mapping[str, Any]) -> int:
    box = (layer["top"], layer["left"], layer["height"], layer["width"])
    return hash((layer["label"], str(layer["reason"]), *box, *layer["runs"]))


def gather(items: Sequence[Item], existing: Existing, vocabulary: Vocabulary) -> Gathered:
    """What the items draw, by slice and annotator; the items' drawings are emptied. Of several
    revisions of one annotator the newest counts; where two items of one revision draw a structure on a slice the first
    has it; and a declared revision that is taken is refused.
    """
    gathered: Gathered = {}
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for item in items:
        for name in item.drawing.regions:
            newest[name, item.annotator] = max(newest[name, item.annotator], item.revision or 0)
    for item in items:
        for name in sorted(item.drawing.regions):
            place = name, item.annotator
            taken = item.revision in existing[place].revisions
            for identifier, region in item.drawing.regions[name].items():
                key = vocabulary.by_id(identifier).key
                if taken:
                    item.drawing.note(key, Reason.REVISION_EXISTS, name)
                elif (item.revision or 0) < newest[place]:
                    item.drawing.note(key, Reason.CORRECTED, name)
                elif identifier in gathered.get(place, {}):
                    item.drawing.note(key, Reason.SLICE_TWICE, name)
                else:
                    gathered.setdefault(place, {})[identifier] = Drawn(region, item, item.layers.get(identifier))
        item.drawing.regions = {}
    return gathered


@dataclass
class Published:
    """Rows of MASKS and MASK_LAYERS, and (slice, annotator, structure) that a revision no longer shows."""

    masks: Rows = field(default_factory=list)
    layers: Rows = field(default_factory=list)
    gone: list[tuple[str, str, int]] = field(default_factory=list)


def publish(
    gathered: Gathered, existing: Existing, index: SliceIndex, clean: Zone, vocabulary: Vocabulary
) -> Published:
    """Compose and write the label map of every slice and annotator; what became of each structure is noted in the item
    that drew it. Items that draw different structures on a slice share its map; the row names the first of them.
    """
    done = Published()
    palette = vocabulary.palette()
    for name, annotator in sorted(gathered):
        drawn = gathered[name, annotator]
        target, before = index.by_name[name], existing[name, annotator]
        composed = compose(
            {i: d.region for i, d in drawn.items() if d.layer is None}, target.rows, target.columns, vocabulary
        )
        first = next(iter(drawn.values())).item
        declared = max((d.item.revision or 0 for d in drawn.values()), default=0)
        revision = declared or max(existing.arrival, before.newest + 1)
        identity = {"slice_name": name, "annotator": annotator, "revision": revision}
        layers = [identity | row for row in _layers(drawn, composed, target)]
        encoded = encode_png(composed.values, palette) if composed.areas else b""
        payload = clean.put("masks", encoded, ".png") if encoded else None
        same = (payload.sha256 if payload else "") == before.sha256
        if before.revisions and same and {_essence(row) for row in layers} == before.layers:
            for identifier, each in drawn.items():
                each.item.drawing.note(vocabulary.by_id(identifier).key, Reason.SUBMITTED_BEFORE, name, Outcome.KEPT)
            continue
        done.layers += layers
        done.gone += [(name, annotator, label) for label in before.labels if label not in drawn]
        _note(drawn, composed, name, vocabulary)
        if payload is not None:
            done.masks.append(
                identity
                | {
                    "sop_instance_uid": target.sop_instance_uid,
                    "frame": target.frame,
                    "patient": target.patient,
                    "source_format": first.drawing.source_format,
                    "item": first.name,
                    "rows": target.rows,
                    "columns": target.columns,
                    "labels": list(composed.areas),
                    "areas": list(composed.areas.values()),
                    "overlap_pixels": composed.overlap_pixels,
                    "overlap_policy": OVERLAP_POLICY,
                    "vocabulary": vocabulary.version,
                    "path": payload.path,
                    "sha256": payload.sha256,
                }
            )
    return done


def _layers(drawn: Mapping[int, Drawn], composed: LabelMap, target: Target) -> Iterator[dict[str, Any]]:
    for identifier, each in sorted(drawn.items()):
        area = each.region.area
        hidden = area - composed.areas.get(identifier, 0) if each.layer is None else area
        if hidden:
            yield {
                "label": identifier,
                "reason": str(each.layer or Covered.OVERLAP),
                "item": each.item.name,
                "rows": target.rows,
                "columns": target.columns,
                "area": area,
                "hidden_pixels": hidden,
                **layer_of(each.region),
            }


def _note(drawn: Mapping[int, Drawn], composed: LabelMap, name: str, vocabulary: Vocabulary) -> None:
    for identifier, each in drawn.items():
        key = vocabulary.by_id(identifier).key
        if each.layer is not None:
            each.item.drawing.note(key, LAYER_REASONS[each.layer], name, Outcome.KEPT)
        elif identifier in composed.areas:
            each.item.accepted[key].add(name)
        else:
            each.item.drawing.note(key, Reason.HIDDEN, name, Outcome.KEPT)
