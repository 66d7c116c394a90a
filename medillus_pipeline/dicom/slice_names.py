"""What a displayable frame is called, everywhere."""

import hashlib


def slice_name(sop_instance_uid: str, frame: int) -> str:
    """The name of a displayable frame (counted from 1), derived from the *pseudonymous* SOP Instance UID."""
    return f"s-{hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:16]}-{frame:04d}"
