"""Who gets a place in the frozen split."""

from medillus_pipeline.assets.dataset import _splits
from medillus_pipeline.tables import PATIENT_SPLITS, TableStore
from medillus_pipeline.zones import Zone


def test_a_slice_delivered_again_under_another_patient_id_keeps_its_first_patient(clean: Zone) -> None:
    slices = [{"slice_name": f"s-{n}", "split_token": f"token-{n}"} for n in range(9)]
    again = [{"slice_name": "s-0", "split_token": "token-corrected"}]
    masks = [{"slice_name": row["slice_name"]} for row in slices]
    existing, newcomers = _splits(TableStore(clean), slices + again, masks)
    assert existing == {}
    assert set(newcomers) == {f"token-{n}" for n in range(9)}


def test_patients_on_record_stay_where_they_are(clean: Zone) -> None:
    tables = TableStore(clean)
    before = [{"split_token": f"token-{n}", "split": "train", "round": 1} for n in range(4)]
    tables.publish(PATIENT_SPLITS, "round-000001", PATIENT_SPLITS.to_arrow(before))
    slices = [{"slice_name": f"s-{n}", "split_token": f"token-{n}"} for n in range(8)]
    existing, newcomers = _splits(tables, slices, [{"slice_name": row["slice_name"]} for row in slices])
    assert existing == {f"token-{n}": "train" for n in range(4)}
    assert set(newcomers) == {f"token-{n}" for n in range(4, 8)}
    assert "train" not in newcomers.values()
