"""DICOM: reading, de-identification, pixels for display, geometry. Nothing here knows Dagster."""
