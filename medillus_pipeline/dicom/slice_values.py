"""Calibrated values of slices that were published: read from their instances, never from their pictures."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from medillus_pipeline.dicom.pixels import GreyFrame, PixelError, grey_frame
from medillus_pipeline.zones import Zone


class SliceValues:
    """Reads slices, given as rows of SLICES, from the clean zone. The last instance is kept: its next frame is often
    asked for next. `padding` is what padding pixels become; None leaves them as they are.
    """

    def __init__(self, clean: Zone, padding: float | None = None) -> None:
        self.clean = clean
        self.padding = padding
        self._last: tuple[str, Any] | None = None

    def values(self, row: Mapping[str, Any]) -> np.ndarray:
        """(rows, columns) float32, HU for CT. Raises PixelError when the frame cannot be decoded."""
        return self._frame(row).calibrated(self.padding)

    def hounsfield(self, row: Mapping[str, Any]) -> np.ndarray | None:
        """The values where they are HU; None where the file does not say so, or cannot be decoded."""
        try:
            frame = self._frame(row)
            return frame.calibrated(self.padding) if frame.calibration.hounsfield else None
        except PixelError:
            return None

    def _frame(self, row: Mapping[str, Any]) -> GreyFrame:
        import pydicom

        path = row["instance_path"]
        if self._last is None or self._last[0] != path:
            self._last = (path, pydicom.dcmread(io.BytesIO(self.clean.read(path))))
        return grey_frame(self._last[1], row["frame"])
