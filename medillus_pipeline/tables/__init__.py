"""The tables of the pipeline, and the store that holds them.

What must hold of the values is not here: see `quality/suites.py`.
"""

from medillus_pipeline.tables.annotations import (
    MASK_AGREEMENT,
    MASK_FINDINGS,
    MASK_ITEMS,
    MASK_LAYERS,
    MASKS,
    STUDY_LABELS,
)
from medillus_pipeline.tables.illustrations import (
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    ILLUSTRATIONS,
    VOLUME_ILLUSTRATIONS,
)
from medillus_pipeline.tables.images import (
    INSTANCES,
    LANDINGS,
    LEDGER,
    PATIENT_SPLITS,
    SLICE_WINDOWS,
    SLICES,
    VOLUMES,
)
from medillus_pipeline.tables.models import (
    PROMOTIONS,
    REVIEWS,
    TRAINING_SLICES,
)
from medillus_pipeline.tables.store import TableStore
from medillus_pipeline.tables.table import Column, Table, from_parquet, storable, to_parquet

TABLES = (
    INSTANCES,
    SLICES,
    SLICE_WINDOWS,
    VOLUMES,
    MASKS,
    MASK_LAYERS,
    MASK_FINDINGS,
    MASK_AGREEMENT,
    MASK_ITEMS,
    STUDY_LABELS,
    LEDGER,
    LANDINGS,
    PATIENT_SPLITS,
    TRAINING_SLICES,
    ILLUSTRATIONS,
    ILLUSTRATION_RECORDS,
    ILLUSTRATION_REQUESTS,
    VOLUME_ILLUSTRATIONS,
    REVIEWS,
    PROMOTIONS,
)

__all__ = [
    "ILLUSTRATIONS",
    "ILLUSTRATION_RECORDS",
    "ILLUSTRATION_REQUESTS",
    "INSTANCES",
    "LANDINGS",
    "LEDGER",
    "MASKS",
    "MASK_AGREEMENT",
    "MASK_FINDINGS",
    "MASK_ITEMS",
    "MASK_LAYERS",
    "PATIENT_SPLITS",
    "PROMOTIONS",
    "REVIEWS",
    "SLICES",
    "SLICE_WINDOWS",
    "STUDY_LABELS",
    "TABLES",
    "TRAINING_SLICES",
    "VOLUMES",
    "VOLUME_ILLUSTRATIONS",
    "Column",
    "Table",
    "TableStore",
    "from_parquet",
    "storable",
    "to_parquet",
]
