"""Annotations (LabelMe, RTSTRUCT, NIfTI …) become one label map per slice, in one vocabulary."""
