"""Labelled figures: image and label map in, SVG, PNG, provenance sidecar and one HTML gallery out. No Dagster here."""
