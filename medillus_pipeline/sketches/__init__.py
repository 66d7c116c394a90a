"""A hand drawing becomes a label map. No Dagster, no figures: those are elsewhere."""
