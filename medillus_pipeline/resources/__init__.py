"""Dagster resources: the zones, MLflow, and how much of the machine a step may use."""
