"""The studio: a local web page on which a physician draws, asks, sees the figure and takes it. No Dagster."""
