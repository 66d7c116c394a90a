"""The page that lies in an exported folder: how annotators open it, confirm what a model drew, and hand it back."""

from collections.abc import Sequence

from medillus_pipeline.annotation.export_choice import Chosen
from medillus_pipeline.annotation.export_format import Format

README = "README.txt"

OPEN = {
    Format.LABELME: """\
Each slice is a picture (.png) with its drawing (.json) beside it.
Open this folder in LabelMe (File > Open Dir, release 5 or 6), correct the
polygons, save.""",
    Format.DICOM_SEG: """\
Each .dcm file is a DICOM segmentation. Its name begins with the UID of the
series that it was drawn on. Load that series (the de-identified one) and the
segmentation in 3D Slicer or any viewer that edits DICOM SEG, correct it, and
save it as DICOM SEG in this folder, in the place of the file.""",
    Format.NIFTI: """\
Each .nii.gz file is a label map on the grid of one series; its name says which
(UID). Load the volume of that series in ITK-SNAP or 3D Slicer and the label map
as its segmentation, correct it, and save it under the same name. The files
*.label name the label values (ITK-SNAP: Segmentation > Import Label
Descriptions). Leave index.json as it is.""",
}

CONFIRM = {
    Format.LABELME: """\
look at each shape, correct it, and take the flag "proposal" off it
(Edit Label). Delete what is wrong. A shape that still has the flag is refused.""",
    Format.DICOM_SEG: """\
look at each segment, correct it, and set its algorithm type to SEMIAUTOMATIC
or MANUAL. Delete what is wrong. A segment that is still AUTOMATIC is refused.""",
    Format.NIFTI: """\
look at each structure and correct it; then take the word "proposal: " off its
name in the .label file (ITK-SNAP: Label Editor, then Export Label
Descriptions). Erase what is wrong. A value with that word is refused.""",
}

HAND_BACK = """\
To hand it back: write your name, on one line, into a file annotator.txt in this
folder, and give the whole folder to whoever runs the pipeline. They run
    medillus land annotations FOLDER --name NAME
    medillus run-all
and `medillus receipt KEY` says what became of every file. What you left as it
was makes no new revision; what you changed does. Draw only structures that the
vocabulary knows, under the names that they have here."""


def readme(format: Format, proposed: Sequence[Chosen]) -> str:
    """The text for a folder of that format; `proposed` are the slices that a model drew, if any."""
    parts = [OPEN[format]]
    if proposed:
        parts.append(
            "A model drew these, and nobody has looked at them yet. They count for nothing\n"
            f"until somebody confirms them:\n{CONFIRM[format]}"
        )
    parts.append(HAND_BACK)
    if proposed:
        order = sorted(proposed, key=lambda each: (-(each.proposed.uncertainty if each.proposed else 0), _name(each)))
        lines = [f"{_name(each)}  {each.proposed.uncertainty:.3f}" for each in order if each.proposed]
        parts.append("\n".join(["The slices, those first that the model is least sure of (0 to 1):", *lines]))
    return "\n\n".join(parts) + "\n"


def _name(chosen: Chosen) -> str:
    return chosen.slice["slice_name"]
