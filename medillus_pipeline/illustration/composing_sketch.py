"""A hand drawing as the geometry of a figure: it claims what it shows, and nothing of what nobody drew.

What is not here: how a drawing is read (`sketches/reading.py`).
"""

import hashlib

import numpy as np

from medillus_pipeline.errors import InputError
from medillus_pipeline.generation.sample_mask import read_mask
from medillus_pipeline.illustration.answer import same_words
from medillus_pipeline.illustration.composing import Geometry, refused
from medillus_pipeline.illustration.composing_mask import claim_said, claims, shown
from medillus_pipeline.illustration.illustration_request import IllustrationRequest
from medillus_pipeline.illustration.models import Models
from medillus_pipeline.illustration.wording import Bilingual


def from_sketch(request: IllustrationRequest, models: Models, data: bytes, body_part: str | None) -> Geometry:
    """The geometry of a drawing. Raises IllustrationRefused with all that no body has, and InputError for what cannot
    be read, or where nobody trained a sketch segmenter.
    """
    from medillus_pipeline.dicom.png import encode_png
    from medillus_pipeline.sketches.reading import read_sketch

    if models.sketch_segmenter is None:
        raise InputError("there is no sketch segmenter: materialize sketch_segmenter, or draw a mask with ids")
    reading = read_sketch(
        data,
        segmenter=models.sketch_segmenter,
        prior=models.prior,
        vocabulary=models.vocabulary,
        legend=request.legend,
        level=request.level,
        flip=request.flip,
    )
    if reading.refusals:
        raise refused("the sketch shows what no body has", "草图中有人体不存在的情形", same_words(reading.refusals))
    reading.accepted()
    field_of_view = models.field_of_view(body_part)
    ids = reading.ids
    if ids.shape != (models.size, models.size):
        ids = read_mask(
            encode_png(np.ascontiguousarray(ids)),
            models.classes,
            models.vocabulary,
            size=models.size,
            field_of_view=field_of_view,
        ).ids
    drawn, _ = claims(ids, models, bool(request.complete), reading.level)
    digest = hashlib.sha256(data).hexdigest()
    left_right = Bilingual(
        f"read so that {reading.orientation}", "按影像惯例读取：图像右侧为患者左侧，上方为前方，自足侧观察"
    )
    return Geometry(
        label_map=ids,
        drawn=drawn,
        level=float(reading.level),
        pixel_mm=field_of_view / models.size,
        source=f"sketch-{digest[:12]}",
        understood=shown(ids, reading.level, "sketch", "草图", models),
        remarks=(left_right, *same_words(reading.remarks), claim_said(drawn, ids, models)),
        origin={
            "way": "sketch",
            "sha256": digest,
            "flipped": reading.flipped,
            "mirror_suspected": reading.mirror_suspected,
            "named": list(reading.named),
            "read_with_confidence": {key: round(float(v), 4) for key, v in sorted(reading.confidences.items())},
        },
    )
