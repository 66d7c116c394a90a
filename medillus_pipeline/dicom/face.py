"""The words of the column `face` of INSTANCES."""

from enum import StrEnum


class Face(StrEnum):
    """Whether the pixels may hold a face from which somebody could be recognised."""

    NONE = "none"
    """Another kind of image, or another part of the body by name."""
    POSSIBLE = "possible"
    """A part of the body by name that includes or touches the face."""
    UNKNOWN = "unknown"
    """A volume of which the source does not say what it shows."""
    REMOVED = "removed"
    """It was removed, or what remains in a thin block of slices shows too little of one."""
