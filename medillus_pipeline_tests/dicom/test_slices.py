import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from medillus_pipeline.dicom import slices as slices_module
from medillus_pipeline.dicom.native import NativeFrames
from medillus_pipeline.dicom.picture_store import store_picture
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.rendering import Task, render_instance
from medillus_pipeline.dicom.slice_names import slice_name
from medillus_pipeline.dicom.slices import contact_sheet, render_delivery, thumbnail
from medillus_pipeline.dicom.windows import PRESETS, apply_window
from medillus_pipeline.errors import InputError, StoreError
from medillus_pipeline.tables import SLICE_WINDOWS, SLICES, to_parquet
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import encoded, image, instance_row, item

GEOMETRY = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.8, 0.8]}
HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}


def ct_slice(clean: Zone, z: float, *, seed: int = 0, series: str = "2.25.2", **attributes: Any) -> dict[str, Any]:
    pixels = np.random.default_rng([seed, round(z * 10) + 5000]).integers(0, 2000, (12, 16), np.uint16)
    where = {"ImagePositionPatient": [0, 0, z], "SeriesInstanceUID": series}
    return instance_row(encoded(image(pixels, **(GEOMETRY | HU | where | attributes))), clean)


def mr_series(clean: Zone, count: int = 6) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    shapes = [rng.gamma(2.0, 100 * (k + 1), (20, 20)).astype(np.uint16) for k in range(count)]
    return [
        instance_row(
            encoded(image(p, Modality="MR", ImagePositionPatient=[0, 0, 3 * k], **GEOMETRY)), clean, modality="MR"
        )
        for k, p in enumerate(shapes)
    ]


def test_rows_fit_the_table_and_the_picture_is_the_windowed_slice(clean: Zone) -> None:
    row = ct_slice(clean, 7.5)
    rendered = render_delivery([row], clean)
    table = SLICES.to_arrow(rendered.slices)
    (made,) = table.to_pylist()
    pixels = np.random.default_rng([0, 5075]).integers(0, 2000, (12, 16), np.uint16)
    hu = pixels.astype(float) - 1024
    assert np.array_equal(decode_png(clean.read(made["path"])), apply_window(hu, PRESETS["soft-tissue"]))
    assert made["slice_name"] == slice_name(row["sop_instance_uid"], 1)
    assert (made["window"], made["window_center"], made["window_width"]) == ("soft-tissue", 50, 350)
    assert (made["minimum"], made["maximum"]) == (hu.min(), hu.max())
    assert made["mean"] == pytest.approx(hu.mean())
    assert (made["position"], made["pixel_spacing"]) == ([0, 0, 7.5], [0.8, 0.8])
    assert not rendered.skipped


def test_ordinals_follow_the_position_and_not_the_instance_number(clean: Zone) -> None:
    heights = [30.0, 0.0, 20.0, 10.0]
    rows = [ct_slice(clean, z, InstanceNumber=n) for n, z in enumerate(heights, start=1)]
    made = sorted(render_delivery(rows, clean).slices, key=lambda row: row["ordinal"])
    assert [row["position"][2] for row in made] == sorted(heights)
    assert [row["ordinal"] for row in made] == [0, 1, 2, 3]
    assert {row["slice_spacing"] for row in made} == {10.0}


def test_neighbours_of_an_mr_series_share_one_window(clean: Zone) -> None:
    made = render_delivery(mr_series(clean), clean).slices
    assert {row["window"] for row in made} == {"percentiles-0.5-99.5"}
    assert len({(row["window_center"], row["window_width"]) for row in made}) == 1
    means = [decode_png(clean.read(row["path"])).mean() for row in sorted(made, key=lambda row: row["ordinal"])]
    assert means == sorted(means)


def test_every_frame_of_a_multi_frame_object_is_a_slice(clean: Zone) -> None:
    pixels = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    row = instance_row(encoded(image(pixels, Modality="US")), clean, modality="US", frames=3)
    made = render_delivery([row], clean).slices
    assert [m["frame"] for m in sorted(made, key=lambda m: m["slice_name"])] == [1, 2, 3]
    assert {m["window"] for m in made} == {"full-range"}
    by_frame = {m["frame"]: decode_png(clean.read(m["path"])) for m in made}
    assert all(np.array_equal(by_frame[k + 1], pixels[k]) for k in range(3))


def test_an_x_ray_shows_its_own_window_and_without_one_its_percentiles(clean: Zone) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (30, 30), np.uint16)
    bits = {"Modality": "DX", "BitsStored": 12, "HighBit": 11}
    own = image(pixels, **bits, WindowCenter=2000, WindowWidth=1500, SeriesInstanceUID="2.25.71")
    bare = image(pixels, **bits, SeriesInstanceUID="2.25.72")
    rows = [instance_row(encoded(d), clean) for d in (own, bare)]
    windows = {r["series_instance_uid"]: r["window"] for r in render_delivery(rows, clean).slices}
    assert windows == {"2.25.71": "file", "2.25.72": "percentiles-0.5-99.5"}


def test_a_ct_that_is_not_in_hu_does_not_get_a_preset(clean: Zone) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (9, 9), np.uint8)
    (made,) = render_delivery([instance_row(encoded(image(pixels)), clean)], clean).slices
    assert made["window"] == "full-range"


def test_a_window_can_be_chosen_for_all_ct_and_an_unknown_one_is_refused(clean: Zone) -> None:
    row = ct_slice(clean, 0.0)
    assert render_delivery([row], clean, window="lung").slices[0]["window"] == "lung"
    with pytest.raises(InputError, match="choose one of soft-tissue"):
        render_delivery([row], clean, window="spleen")


def test_what_cannot_be_shown_is_counted_and_costs_no_other_file_its_place(clean: Zone) -> None:
    good = [ct_slice(clean, z) for z in (0.0, 1.0)]
    whole = encoded(image(np.zeros((40, 40), np.int16)))
    padded = image(np.full((4, 4), -2000, np.int16), PixelPaddingValue=-2000, **HU)
    bare = image(np.zeros((4, 4), np.int16))
    del bare.PixelData
    bad = [
        instance_row(whole[:-900], clean),
        instance_row(b"no DICOM at all", clean),
        instance_row(encoded(padded), clean),
        instance_row(encoded(bare), clean),
        good[0] | {"sop_instance_uid": "2.25.404", "path": "instances/no/such.dcm"},
    ]
    rendered = render_delivery([*bad, *good], clean)
    assert len(rendered.slices) == 2
    assert rendered.skipped == {"no_pixel_data": 1, "only_padding": 1, "truncated_pixels": 1, "unreadable_file": 2}


def test_two_workers_make_what_one_makes(clean: Zone, tmp_path: Path) -> None:
    other = Zone((tmp_path / "other").as_uri())
    results = []
    for zone in (clean, other):
        rows = [ct_slice(zone, float(z)) for z in range(8)] + mr_series(zone)
        if zone is clean:
            results.append(render_delivery(rows, zone))
        else:
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
                results.append(render_delivery(rows[::-1], zone, executor=executor))
    first, second = results
    assert first == second
    assert clean.files("slices") == other.files("slices")
    assert to_parquet(SLICES.to_arrow(first.slices)) == to_parquet(SLICES.to_arrow(second.slices))


def test_a_large_delivery_goes_over_spawned_processes(clean: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices_module, "POOLED", 1)
    rows = [ct_slice(clean, float(z)) for z in range(4)]
    seen: list[tuple[int, int]] = []
    rendered = render_delivery(rows, clean, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert rendered == render_delivery(rows, clean)
    assert seen == [(n, 4) for n in range(1, 5)]


def test_a_second_run_writes_nothing_new(clean: Zone) -> None:
    rows = [ct_slice(clean, float(z)) for z in range(3)]
    first = render_delivery(rows, clean)
    stamps = {f: Path(clean.full(f)).stat().st_mtime_ns for f in clean.files("slices")}
    assert render_delivery(rows, clean) == first
    assert stamps == {f: Path(clean.full(f)).stat().st_mtime_ns for f in clean.files("slices")}


def test_a_second_run_does_no_pixel_work_and_another_window_or_file_does(
    clean: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ct_slice(clean, float(z)) for z in range(3)] + mr_series(clean)
    first = render_delivery(rows, clean, window="soft-tissue,lung")
    read: list[str] = []
    render = slices_module._render
    monkeypatch.setattr(slices_module, "_render", lambda task: read.append(task.instance["path"]) or render(task))
    monkeypatch.setattr(slices_module, "survey_instance", None)
    assert render_delivery(rows[::-1], clean, window="soft-tissue,lung") == first
    assert not read
    monkeypatch.undo()
    monkeypatch.setattr(slices_module, "_render", lambda task: read.append(task.instance["path"]) or render(task))
    render_delivery(rows, clean, window="lung")
    assert len(read) == len(rows)
    render_delivery([*rows, ct_slice(clean, 9.0)], clean, window="soft-tissue,lung")
    assert len(read) == 2 * len(rows) + 1


def test_a_picture_that_is_gone_is_rendered_again(clean: Zone) -> None:
    rows = [ct_slice(clean, float(z)) for z in range(3)]
    first = render_delivery(rows, clean)
    clean.remove(first.slices[1]["path"])
    assert render_delivery(rows, clean) == first
    assert all(clean.exists(row["path"]) for row in first.slices)


def test_several_windows_make_further_pictures_of_ct_and_leave_one_row_a_slice(clean: Zone) -> None:
    rows = [ct_slice(clean, 5.0), *mr_series(clean, 3)]
    once = render_delivery(rows, clean, window="soft-tissue")
    more = render_delivery(rows, clean, window="soft-tissue,lung,soft-tissue")
    assert more.slices == once.slices
    (further,) = SLICE_WINDOWS.to_arrow(more.further).to_pylist()
    (lung,) = (r for r in render_delivery(rows, clean, window="lung").slices if r["modality"] == "CT")
    grey8 = {"output": "grey8", "slope": None, "intercept": None}
    assert further == {name: (lung | grey8)[name] for name in further}


@pytest.mark.parametrize("window", [None, "bone", "soft-tissue,lung,file"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PixelPaddingValue": 700, "PixelPaddingRangeLimit": 900},
        {"BitsStored": 12, "HighBit": 11},
        {
            "ReferencedImageSequence": [
                item(PurposeOfReferenceCodeSequence=[item(CodeValue="1")], ReferencedFrameNumber=1)
            ]
        },
        {"RescaleSlope": 2.5, "WindowCenter": [40, 9], "WindowWidth": [300, 80]},
        {"WindowCenter": 40, "WindowWidth": 300, "VOILUTFunction": "SIGMOID", "Modality": "MR"},
    ],
)
def test_the_fast_way_makes_what_the_general_way_makes(
    clean: Zone, attributes: dict[str, Any], window: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ct_slice(clean, z, **attributes) for z in (0.0, 2.5, -10.0)]
    general = 0

    def counted(task: Task) -> tuple[list[dict[str, Any]], list[str]]:
        nonlocal general
        general += 1
        return render_instance(task)

    monkeypatch.setattr(slices_module, "render_instance", counted)
    monkeypatch.setattr(slices_module, "_native", NativeFrames())
    fast = render_delivery(rows, clean, window=window, remembering=False)
    assert general == 0, "not one of these slices needs the general way"
    monkeypatch.setattr(NativeFrames, "render", lambda *_: None)
    assert render_delivery(rows, clean, window=window, remembering=False) == fast
    assert general == 3


@pytest.mark.parametrize(
    "change",
    [
        {"RescaleIntercept": -1000},
        {"PixelPaddingValue": 500},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PixelSpacing": [0.7, 0.7]},
        {"WindowCenter": 80, "WindowWidth": 200},
        {"BitsStored": 11, "HighBit": 10},
    ],
)
def test_a_slice_whose_header_differs_from_its_series_is_shown_by_its_own(
    clean: Zone, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ct_slice(clean, z, **(change if z == 2.0 else {})) for z in (0.0, 1.0, 2.0, 3.0)]
    fast = render_delivery(rows, clean, window="file", remembering=False)
    monkeypatch.setattr(NativeFrames, "render", lambda *_: None)
    assert render_delivery(rows, clean, window="file", remembering=False) == fast


def test_sequences_of_undefined_length_do_not_end_the_fast_way(clean: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = item(ReferencedFrameNumber=1, PurposeOfReferenceCodeSequence=[item(CodeValue="1")])
    made = image(np.arange(20, dtype=np.uint16).reshape(4, 5), **HU, **GEOMETRY, ImagePositionPatient=[0, 0, 1])
    made.ReferencedImageSequence = [inner, item()]
    for holder, element in ((made, "ReferencedImageSequence"), (inner, "PurposeOfReferenceCodeSequence")):
        holder[element].is_undefined_length = True
        holder[element].value[0].is_undefined_length_sequence_item = True
    data = encoded(made)
    assert data.count(b"\xff\xff\xff\xff") == 4
    row = instance_row(data, clean)
    general = render_delivery([row], clean, remembering=False)
    monkeypatch.setattr(slices_module, "_native", NativeFrames())
    monkeypatch.setattr(slices_module, "render_instance", None)  # whoever takes the general way now fails
    assert render_delivery([row], clean, remembering=False) == general


def test_a_clinics_ct_comes_out_the_same_the_fast_way(
    shared_data: Path, clean: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((shared_data / "ct_thorax_rt" / "ct").iterdir())[::20]
    files += [p for p in sorted((shared_data / "awkward" / "single").iterdir()) if p.stat().st_size < 200_000]
    rows = {}
    for path in files:
        data = path.read_bytes()
        if data[128:132] == b"DICM" and path.parent.name == "ct":
            dataset = pydicom.dcmread(path)
            dataset.decompress()
            data = encoded(dataset)
        row = instance_row(data, clean)
        rows[row["sop_instance_uid"]] = row
    fast = render_delivery(list(rows.values()), clean, window="soft-tissue,lung", remembering=False)
    monkeypatch.setattr(NativeFrames, "render", lambda *_: None)
    assert render_delivery(list(rows.values()), clean, window="soft-tissue,lung", remembering=False) == fast


def test_a_picture_cut_short_by_a_power_failure_is_written_again(clean: Zone) -> None:
    payload = store_picture(clean, "slices", b"a whole picture", ".png")
    Path(clean.full(payload.path)).write_bytes(b"a wh")
    assert store_picture(clean, "slices", b"a whole picture", ".png") == payload
    assert clean.read(payload.path) == b"a whole picture"
    assert clean.files("slices") == [payload.path]


def test_a_store_that_cannot_be_written_stops_the_step(clean: Zone) -> None:
    row = ct_slice(clean, 0.0)
    Path(clean.full("slices")).write_text("a file where a folder is needed")
    with pytest.raises(StoreError):
        render_delivery([row], clean)


def test_a_mixed_series_is_split_and_its_oddities_are_counted(clean: Zone) -> None:
    rows = [ct_slice(clean, float(z)) for z in (0, 3, 6)]
    rows.append(ct_slice(clean, 1.0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    rendered = render_delivery(rows, clean)
    assert sorted(row["ordinal"] for row in rendered.slices) == [0, 1, 2, 3]
    assert rendered.notes == {"mixed_orientation": 2}


def test_an_empty_delivery_has_a_sheet_that_says_so(clean: Zone) -> None:
    rendered = render_delivery([], clean)
    assert (list(rendered.slices), rendered.skipped) == ([], {})
    assert decode_png(contact_sheet(rendered.slices, clean)).max() > 100


def test_the_contact_sheet_samples_evenly_and_is_reproducible(clean: Zone) -> None:
    rows = render_delivery([ct_slice(clean, float(z)) for z in range(30)], clean).slices
    sheet = contact_sheet(rows, clean, 6)
    assert sheet == contact_sheet(rows[::-1], clean, 6)
    width, height = Image.open(io.BytesIO(sheet)).size
    assert width < 800
    assert height < 600


@pytest.mark.parametrize("shape", [(900, 1200), (900, 1200, 3), (4, 4)])
def test_a_thumbnail_fits_into_metadata(shape: tuple[int, ...]) -> None:
    from medillus_pipeline.dicom.png import encode_png

    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    small = thumbnail(encode_png(noise))
    assert len(small) * 4 / 3 < 20_000
    image_ = Image.open(io.BytesIO(small))
    assert image_.width / image_.height == pytest.approx(shape[1] / shape[0], rel=0.05)


def test_a_clinics_ct_becomes_one_ordered_series(shared_data: Path, clean: Zone) -> None:
    files = sorted((shared_data / "ct_thorax_rt").rglob("*.dcm"))[::3]
    rows = [instance_row(path.read_bytes(), clean) for path in files]
    images = [row for row in rows if row["modality"] == "CT"]
    rendered = render_delivery(images, clean)
    assert len(rendered.slices) == len(images) > 30
    assert not rendered.skipped
    heights = [r["position"][2] for r in sorted(rendered.slices, key=lambda r: r["ordinal"])]
    assert heights == sorted(heights)
    assert {r["window"] for r in rendered.slices} == {"soft-tissue"}


def test_no_awkward_file_stops_the_rest(shared_data: Path, clean: Zone) -> None:
    files = [p for p in sorted((shared_data / "awkward" / "single").iterdir()) if p.stat().st_size < 200_000]
    files += sorted((shared_data / "awkward" / "series_gantry_tilt").iterdir())
    files += sorted((shared_data / "awkward" / "not_dicom").iterdir())
    rows = {row["sop_instance_uid"]: row for row in (instance_row(p.read_bytes(), clean) for p in files)}
    rendered = render_delivery(list(rows.values()), clean)
    SLICES.to_arrow(rendered.slices)
    assert len(rendered.slices) > 90
    assert rendered.notes["tilted_stack"] == 1
    assert rendered.notes["uneven_spacing"] >= 1
    assert {"truncated_pixels", "no_pixel_data", "not_an_image", "unreadable_file"} <= set(rendered.skipped)
