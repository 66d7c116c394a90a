"""The table of further windows: more than one picture of a frame, where more than one preset was asked for.

`slices` holds the first window of every frame, to which masks and figures refer, and keeps one row a frame; what the
others show stands here. How frames are rendered is not here.
"""

from medillus_pipeline.tables import Column, Table

SLICE_WINDOWS = Table(
    "slice_windows",
    "Further pictures of the slices, through windows other than the first.",
    (
        Column("slice_name", "string", "the slice, as in slices"),
        Column("window", "string", "preset that made the PNG, for example lung"),
        Column("window_center", "double", "window centre in HU"),
        Column("window_width", "double", "window width in HU"),
        Column("path", "string", "payload path of the PNG"),
        Column("sha256", "string", "SHA-256 of the PNG"),
    ),
    ("slice_name", "window"),
)
