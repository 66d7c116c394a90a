"""All of the awkward files: what becomes of each, whatever is wrong with it."""

import csv
import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from medillus_pipeline.dicom import jpeg_plugin
from medillus_pipeline.dicom.decoding import Skip
from medillus_pipeline.dicom.png import decode_png
from medillus_pipeline.dicom.rendering import Task, render_instance
from medillus_pipeline.dicom.windows import WindowPolicy
from medillus_pipeline.zones import Zone
from medillus_pipeline_tests.dicom.image_files import instance_row

MIDDLE, BRIGHT = "frame-percentiles-0.5-99.5", "frame-percentiles-0.5-99.8"
Shown = tuple[int, int, int, str, float, float]
"""Frames, width, height, window of the first frame, least and greatest output value of all frames."""

OUTCOMES: dict[str, Shown | Skip] = {
    "dicomdir/TINY_ALPHA/PT*": Skip.NO_PIXEL_DATA,
    "dicomdir/77654033/CR1/6154": (1, 16, 16, "file", 1563.9, 2116.57),
    "dicomdir/77654033/CR2/6247": (1, 16, 16, "file", 1021.48, 1477.71),
    "dicomdir/77654033/CR3/6278": (1, 16, 16, "file", 1622.04, 2139.82),
    "dicomdir/77654033/CT2/17106": (1, 16, 16, "brain", -981.0, 77.0),
    "dicomdir/77654033/CT2/17136": (1, 16, 16, "brain", 77.0, 1360.0),
    "dicomdir/77654033/CT2/17166": (1, 16, 16, "brain", 991.0, 1489.0),
    "dicomdir/77654033/CT2/17196": (1, 16, 16, "brain", 498.0, 1399.0),
    "dicomdir/98892001/CT2N/6293": (1, 16, 16, "soft-tissue", 218.0, 292.0),
    "dicomdir/98892001/CT2N/6924": (1, 16, 16, "soft-tissue", 65.0, 243.0),
    "dicomdir/98892001/CT5N/2062": (1, 16, 16, "soft-tissue", -888.0, 44.0),
    "dicomdir/98892001/CT5N/2392": (1, 16, 16, "soft-tissue", -859.0, 85.0),
    "dicomdir/98892001/CT5N/2693": (1, 16, 16, "soft-tissue", -666.0, 75.0),
    "dicomdir/98892001/CT5N/3023": (1, 16, 16, "soft-tissue", -151.0, 50.0),
    "dicomdir/98892001/CT5N/3353": (1, 16, 16, "soft-tissue", -156.0, 44.0),
    "dicomdir/98892003/MR1/15820": (1, 16, 16, MIDDLE, 224.0, 840.0),
    "dicomdir/98892003/MR1/4919": (1, 16, 16, MIDDLE, 442.0, 826.0),
    "dicomdir/98892003/MR1/5641": (1, 16, 16, MIDDLE, 280.0, 800.0),
    "dicomdir/98892003/MR2/15970": (1, 16, 16, MIDDLE, 79.0, 358.0),
    "dicomdir/98892003/MR2/4950": (1, 16, 16, MIDDLE, 405.0, 742.0),
    "dicomdir/98892003/MR2/4981": (1, 16, 16, MIDDLE, 509.0, 755.0),
    "dicomdir/98892003/MR2/5011": (1, 16, 16, MIDDLE, 403.0, 846.0),
    "dicomdir/98892003/MR2/6273": (1, 16, 16, MIDDLE, 427.0, 692.0),
    "dicomdir/98892003/MR2/6605": (1, 16, 16, MIDDLE, 414.0, 685.0),
    "dicomdir/98892003/MR2/6935": (1, 16, 16, MIDDLE, 429.0, 729.0),
    "dicomdir/98892003/MR700/4467": (1, 16, 16, MIDDLE, 48.0, 80.0),
    "dicomdir/98892003/MR700/4528": (1, 16, 16, MIDDLE, 47.0, 333.0),
    "dicomdir/98892003/MR700/4558": (1, 16, 16, MIDDLE, 55.0, 339.0),
    "dicomdir/98892003/MR700/4588": (1, 16, 16, MIDDLE, 49.0, 104.0),
    "dicomdir/98892003/MR700/4618": (1, 16, 16, MIDDLE, 19.0, 81.0),
    "dicomdir/98892003/MR700/4648": (1, 16, 16, MIDDLE, 0.0, 87.0),
    "dicomdir/98892003/MR700/4678": (1, 16, 16, MIDDLE, 0.0, 90.0),
    "dicomdir/DICOMDIR": Skip.NO_PIXEL_DATA,
    "dicomdir/DICOMDIR-bigEnd": Skip.NO_PIXEL_DATA,
    "dicomdir/DICOMDIR-empty.dcm": Skip.NO_PIXEL_DATA,
    "dicomdir/DICOMDIR-implicit": Skip.NO_PIXEL_DATA,
    "dicomdir/DICOMDIR-nooffset": Skip.NO_PIXEL_DATA,
    "dicomdir/DICOMDIR-nopatient": Skip.NO_PIXEL_DATA,
    "dicomdir/DICOMDIR-reordered": Skip.NO_PIXEL_DATA,
    "dicomdir/README.txt": Skip.UNREADABLE,
    "dicomdir/TINY_ALPHA/DICOMDIR": Skip.NO_PIXEL_DATA,
    "dicomdir/TINY_ALPHA/README": Skip.UNREADABLE,
    "not_dicom/IMG0001.dcm": Skip.UNREADABLE,
    "not_dicom/bad.dcm": Skip.UNREADABLE,
    "not_dicom/not_a_dicom_file.txt": Skip.UNREADABLE,
    "not_dicom/zipMR.gz": Skip.UNREADABLE,
    "one_ct_many_syntaxes/CTImage.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.2.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.1.99.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.90.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.91.dcm": (1, 512, 512, "soft-tissue", -3027.0, 1377.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.80.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.81.dcm": (1, 512, 512, "soft-tissue", -3025.0, 1377.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.55.dcm": (1, 512, 512, "soft-tissue", -3052.88, 1369.66),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.70.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.57.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.50.dcm": (1, 512, 512, "soft-tissue", -3083.35, 1349.43),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.51.dcm": (1, 512, 512, "soft-tissue", -3052.88, 1369.66),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.4.53.dcm": (1, 512, 512, "soft-tissue", -3052.88, 1369.66),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.1.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "one_ct_many_syntaxes/*_1.2.840.10008.1.2.5.dcm": (1, 512, 512, "soft-tissue", -3024.0, 1378.0),
    "pydicom_README.txt": Skip.UNREADABLE,
    "series_compressed_jpeg/IM-0001-0001-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpeg/IM-0001-0002-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpeg/IM-0001-0003-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpeg/IM-0001-0004-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpegls/IM-0001-0001-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpegls/IM-0001-0002-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpegls/IM-0001-0003-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_compressed_jpegls/IM-0001-0004-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_gantry_tilt/09.dcm": (1, 512, 512, "brain", -1023.0, 2121.0),
    "series_gantry_tilt/10.dcm": (1, 512, 512, "brain", -1023.0, 1900.0),
    "series_gantry_tilt/11.dcm": (1, 512, 512, "brain", -1023.0, 1912.0),
    "series_gantry_tilt/12.dcm": (1, 512, 512, "brain", -1023.0, 1786.0),
    "series_gantry_tilt/13.dcm": (1, 512, 512, "brain", -1023.0, 1797.0),
    "series_gantry_tilt/14.dcm": (1, 512, 512, "brain", -1023.0, 1802.0),
    "series_gantry_tilt/15.dcm": (1, 512, 512, "brain", -1023.0, 1735.0),
    "series_gantry_tilt/16.dcm": (1, 512, 512, "brain", -1023.0, 1743.0),
    "series_notavolume/001.dcm": (1, 512, 512, "soft-tissue", -1024.0, -770.0),
    "series_notavolume/002.dcm": (1, 512, 512, "soft-tissue", -1024.0, -770.0),
    "series_notavolume/003.dcm": (1, 512, 512, "soft-tissue", -1024.0, -770.0),
    "series_notavolume/004.dcm": (1, 512, 512, "soft-tissue", -1024.0, -770.0),
    "series_rgb/IM-0001-0001-0001.dcm": (1, 52, 77, "colour", 0.0, 255.0),
    "series_rgb/IM-0001-0002-0001.dcm": (1, 52, 77, "colour", 0.0, 255.0),
    "series_rgb/IM-0001-0003-0001.dcm": (1, 52, 77, "colour", 0.0, 255.0),
    "series_rgb/IM-0001-0004-0001.dcm": (1, 52, 77, "colour", 0.0, 255.0),
    "series_slicecount/IM-0001-0001-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_slicecount/IM-0001-0002-0001.dcm": (1, 256, 256, MIDDLE, 0.0, 254.0),
    "series_sliceorientation/IM-0001-0001-0001 2.dcm": (1, 288, 288, MIDDLE, 0.0, 254.0),
    "series_sliceorientation/IM-0001-0001-0001.dcm": (1, 288, 288, MIDDLE, 0.0, 254.0),
    "series_sliceorientation/IM-0001-0002-0001 2.dcm": (1, 288, 288, MIDDLE, 0.0, 254.0),
    "series_sliceorientation/IM-0001-0002-0001.dcm": (1, 288, 288, MIDDLE, 0.0, 254.0),
    "single/693_J2KI.dcm": (1, 512, 512, "soft-tissue", -3995.0, 1812.0),
    "single/693_J2KR.dcm": (1, 512, 512, "soft-tissue", -1024.0, 1468.0),
    "single/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": (2, 512, 512, "file", -14.0, 1199.0),
    "single/CT_small.dcm": (1, 128, 128, "soft-tissue", -896.0, 1167.0),
    "single/ExplVR_BigEnd.dcm": (1, 80, 60, "colour", 0.0, 255.0),
    "single/ExplVR_BigEndNoMeta.dcm": Skip.NO_PIXEL_DATA,
    "single/ExplVR_LitEndNoMeta.dcm": Skip.NO_PIXEL_DATA,
    "single/GDCMJ2K_TextGBR.dcm": (1, 400, 400, "colour", 0.0, 255.0),
    "single/HTJ2KLossless_08_RGB.dcm": (1, 640, 480, "colour", 0.0, 255.0),
    "single/HTJ2K_08_RGB.dcm": (1, 640, 480, "colour", 0.0, 255.0),
    "single/J2K_pixelrep_mismatch.dcm": (1, 512, 512, "brain", -2000.0, 1896.0),
    "single/JLSL_16_15_1_1F.dcm": (1, 128, 128, MIDDLE, -16384.0, 16383.0),
    "single/JLSL_RGB_ILV1.dcm": (1, 256, 256, "colour", 0.0, 255.0),
    "single/JPEG-LL.dcm": (1, 256, 1024, BRIGHT, 0.0, 278.0),
    "single/JPEG-lossy.dcm": (1, 256, 1024, BRIGHT, 0.0, 264.0),
    "single/JPEG2000-embedded-sequence-delimiter.dcm": Skip.DECODE_FAILED,
    "single/JPEGLSNearLossless_16.dcm": (1, 10, 50, MIDDLE, 0.0, 65535.0),
    "single/JPGExtended.dcm": (1, 256, 1024, BRIGHT, 0.0, 264.0),
    "single/MR_small.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_small_RLE.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_small_bigendian.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_small_implicit.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_small_jp2klossless.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_small_jpeg_ls_lossless.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_small_padded.dcm": (1, 64, 64, MIDDLE, 127.0, 2145.0),
    "single/MR_truncated.dcm": Skip.TRUNCATED,
    "single/OBXXXX1A_rle.dcm": (1, 800, 600, "colour", 0.0, 255.0),
    "single/OT-PAL-8-face.dcm": (1, 640, 480, "colour", 0.0, 255.0),
    "single/RG3_J2KI.dcm": (1, 1760, 1760, "file", 0.0, 1023.0),
    "single/SC_rgb_16bit_2frame.dcm": (2, 100, 100, "colour", 0.0, 255.0),
    "single/SC_rgb_jpeg_dcmtk.dcm": (1, 100, 100, "colour", 0.0, 255.0),
    "single/SC_rgb_rle_32bit_2frame.dcm": (2, 100, 100, "colour", 0.0, 255.0),
    "single/SC_rgb_small_odd.dcm": (1, 3, 3, "colour", 52.0, 176.0),
    "single/SC_ybr_full_422_uncompressed.dcm": (1, 100, 100, "colour", 0.0, 255.0),
    "single/SC_ybr_full_uncompressed.dcm": (1, 100, 100, "colour", 0.0, 255.0),
    "single/TestPattern_JPEG-Baseline_YBR422.dcm": (1, 640, 400, "colour", 0.0, 255.0),
    "single/TestPattern_Palette_16.dcm": (1, 640, 400, "colour", 0.0, 255.0),
    "single/UN_sequence.dcm": Skip.NO_PIXEL_DATA,
    "single/badVR.dcm": Skip.INVALID_DESCRIPTION,
    "single/bad_sequence.dcm": (1, 512, 512, "soft-tissue", -1011.0, 1243.0),
    "single/color-pl.dcm": (1, 256, 120, "colour", 16.0, 248.0),
    "single/color-px.dcm": (1, 256, 120, "colour", 16.0, 248.0),
    "single/eCT_Supplemental.dcm": (2, 512, 512, "file", -1024.0, 172.0),
    "single/empty_charset_LEI.dcm": Skip.NO_PIXEL_DATA,
    "single/emri_small.dcm": (10, 64, 64, MIDDLE, 0.0, 467.0),
    "single/emri_small_RLE.dcm": (10, 64, 64, MIDDLE, 0.0, 467.0),
    "single/emri_small_big_endian.dcm": (10, 64, 64, MIDDLE, 0.0, 467.0),
    "single/emri_small_jpeg_2k_lossless.dcm": (10, 64, 64, MIDDLE, 0.0, 467.0),
    "single/emri_small_jpeg_2k_lossless_too_short.dcm": Skip.UNREADABLE,
    "single/emri_small_jpeg_ls_lossless.dcm": (10, 64, 64, MIDDLE, 0.0, 467.0),
    "single/examples_palette.dcm": (1, 800, 350, "colour", 0.0, 255.0),
    "single/explicit_VR-UN.dcm": (1, 512, 512, "soft-tissue", -1024.0, 1186.0),
    "single/image_dfl.dcm": (1, 512, 512, "full-range", 0.0, 255.0),
    "single/liver_1frame.dcm": Skip.NOT_AN_IMAGE,
    "single/liver_deflate.dcm": Skip.NOT_AN_IMAGE,
    "single/liver_j2k.dcm": Skip.NOT_AN_IMAGE,
    "single/liver_nonbyte_aligned.dcm": Skip.NOT_AN_IMAGE,
    "single/liver_rle.dcm": Skip.NOT_AN_IMAGE,
    "single/meta_missing_tsyntax.dcm": Skip.INVALID_DESCRIPTION,
    "single/mlut_18.dcm": (1, 512, 512, MIDDLE, 0.0, 65535.0),
    "single/nested_priv_SQ.dcm": Skip.INVALID_DESCRIPTION,
    "single/no-pixel-data.dcm": Skip.NO_PIXEL_DATA,
    "single/no-pixel-spacing.dcm": (1, 800, 600, "colour", 0.0, 255.0),
    "single/no_meta.dcm": Skip.UNREADABLE,
    "single/no_meta_group_length.dcm": Skip.NO_PIXEL_DATA,
    "single/ovly_p01.dcm": (1, 512, 512, MIDDLE, 0.0, 4095.0),
    "single/parametric_map_float.dcm": (1, 128, 128, "file", 0.0, 0.94),
    "single/priv_SQ.dcm": Skip.NO_PIXEL_DATA,
    "single/reportsi_with_empty_number_tags.dcm": Skip.NO_PIXEL_DATA,
    "single/rtdose.dcm": (15, 10, 10, MIDDLE, 795000.0, 1254000.0),
    "single/rtplan_truncated.dcm": Skip.NO_PIXEL_DATA,
    "single/rtstruct.dcm": Skip.NO_PIXEL_DATA,
    "single/vlut_04.dcm": (1, 512, 512, "file-voi-lut", 0.0, 255.0),
    "single/waveform_ecg.dcm": Skip.NO_PIXEL_DATA,
}
"""By path or pattern, of which the first that fits counts; one file by itself, so without a window of its series."""

LOSSLESS = ("", "1.2", "1.2.1", "1.2.2", "1.2.1.99", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90", "1.2.5")
"""Transfer syntaxes, less 1.2.840.10008., of copies of one CT slice from which nothing is lost; "" is the original."""

WE_DECODE_TOO = {"single/JPEG-lossy.dcm", "single/OT-PAL-8-face.dcm"}
"""Files that pydicom's own decoders or its rules about headers stop, and that are shown here."""


@pytest.fixture
def awkward(shared_data: Path) -> Path:
    return shared_data / "awkward"


def render(path: Path, clean: Zone) -> tuple[list[dict[str, Any]], list[str]]:
    row = instance_row(path.read_bytes(), clean)
    return render_instance(Task(row, clean, WindowPolicy()))


def outcome(path: Path, clean: Zone) -> Shown | Skip:
    rows, reasons = render(path, clean)
    if not rows:
        (reason,) = set(reasons)
        return Skip(reason)
    assert not reasons
    first = rows[0]
    least, greatest = min(row["minimum"] for row in rows), max(row["maximum"] for row in rows)
    return len(rows), first["columns"], first["rows"], first["window"], round(least, 2), round(greatest, 2)


def expected(name: str) -> Shown | Skip:
    return next(result for pattern, result in OUTCOMES.items() if fnmatch.fnmatchcase(name, pattern))


def test_every_awkward_file_ends_as_the_table_says(awkward: Path, clean: Zone) -> None:
    names = sorted(str(path.relative_to(awkward)) for path in awkward.rglob("*") if path.is_file())
    found = {name: outcome(awkward / name, clean) for name in names}
    assert found == {name: expected(name) for name in names}
    assert all(any(fnmatch.fnmatchcase(name, pattern) for name in names) for pattern in OUTCOMES)


def test_every_file_that_pydicom_decodes_is_shown_unless_it_is_no_image(shared_data: Path) -> None:
    with (shared_data / "MANIFEST.csv").open(newline="") as file:
        said = {row["path"].removeprefix("awkward/"): row["what"] for row in csv.DictReader(file)}
    for name, what in said.items():
        if not (shared_data / "awkward" / name).is_file():
            continue
        ours = expected(name)
        if "pixels decode" in what:
            assert isinstance(ours, tuple) or ours is Skip.NOT_AN_IMAGE, name
        elif isinstance(ours, tuple):
            assert name in WE_DECODE_TOO or "_JPEGProcess" in name, name


def test_one_ct_in_its_lossless_transfer_syntaxes_is_one_picture(awkward: Path, clean: Zone) -> None:
    folder = awkward / "one_ct_many_syntaxes"
    pictures = set()
    for syntax in LOSSLESS:
        (path,) = folder.glob(f"*_1.2.840.10008.{syntax}.dcm" if syntax else "CTImage.dcm")
        (row,), _ = render(path, clean)
        pictures.add(row["sha256"])
    assert len(pictures) == 1


def test_lossy_copies_of_one_ct_look_the_same(awkward: Path, clean: Zone) -> None:
    folder = awkward / "one_ct_many_syntaxes"
    (original,), _ = render(folder / "CTImage.dcm", clean)
    plain = decode_png(clean.read(str(original["path"]))).astype(float)
    for syntax, most in (("81", 1), ("91", 1), ("51", 3), ("53", 3), ("55", 3), ("50", 15)):
        (path,) = folder.glob(f"*_1.2.840.10008.1.2.4.{syntax}.dcm")
        (row,), _ = render(path, clean)
        assert abs(decode_png(clean.read(str(row["path"]))) - plain).mean() < most, syntax


@pytest.fixture
def without_imagecodecs() -> Iterator[None]:
    """pydicom as it is where the plugin found no imagecodecs."""
    syntaxes = (JPEGLossless, JPEGLosslessSV1, JPEGExtended12Bit)
    for syntax in syntaxes:
        get_decoder(syntax).remove_plugin(jpeg_plugin.NAME)
    yield
    jpeg_plugin.register()
    assert all(jpeg_plugin.NAME in get_decoder(syntax).available_plugins for syntax in syntaxes)


@pytest.mark.parametrize("syntax", ["51", "53", "55", "57", "70"])
@pytest.mark.usefixtures("without_imagecodecs")
def test_a_missing_decoder_is_named(awkward: Path, clean: Zone, syntax: str) -> None:
    if "gdcm" in get_decoder(UID(JPEGLossless)).available_plugins:
        pytest.skip("GDCM decodes JPEG here")
    (path,) = (awkward / "one_ct_many_syntaxes").glob(f"*_1.2.840.10008.1.2.4.{syntax}.dcm")
    assert outcome(path, clean) is Skip.MISSING_IMAGECODECS
    assert Skip.MISSING_IMAGECODECS == "missing_decoder_imagecodecs"
