"""One patient's series in a delivery, as hospitals hand it over, and what else lies in such a folder."""

import io
import zipfile
from pathlib import Path

from medillus_pipeline.phantom import dicom
from medillus_pipeline.phantom.identities import Identity


def write_series(folder: Path, index: int, who: Identity, files: list[bytes], *, zipped: bool) -> None:
    """As an archive, without extensions, or deep in nested folders, in turn."""
    if zipped:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number, data in enumerate(files, start=1):
                entry = zipfile.ZipInfo(f"{who.folder_name}/CT/{number:04d}.dcm", (2024, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, data)
        write(folder / f"{who.folder_name}.zip", out.getvalue())
        return
    for number, data in enumerate(files, start=1):
        if index % 2:
            name = f"DICOM/ST{who.study_id[2:]}/SE000003/IM{number:06d}"
        else:
            name = f"{who.folder_name}/CT.{who.slice_uids[number - 1]}.dcm"
        write(folder / name, data)


def write_oddities(folder: Path, who: Identity, files: list[bytes]) -> None:
    """An index, a note, a duplicate, a broken file, and a screenshot with a name burned in."""
    middle = files[len(files) // 2]
    write(folder / "DICOMDIR", dicom.media_directory(who))
    note = f"Export for {who.folder_name.replace('_', ' ')}\nPlease return the disc to {who.physician}.\n"
    write(folder / "README.txt", note.encode())
    write(folder / "lost+found" / "copy of slice.dcm", middle)
    write(folder / "lost+found" / "broken.dcm", files[0][: len(files[0]) * 3 // 5])
    write(folder / who.folder_name / "dose_report.dcm", dicom.secondary_capture(who))


def write(path: Path, data: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
