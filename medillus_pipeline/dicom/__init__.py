"""DICOM: reading, pixels for display, geometry. Nothing here knows Dagster, or changes what a file says."""
