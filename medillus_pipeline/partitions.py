"""Partition definitions. A key is never a raw folder name: see `landings.py`."""

import dagster as dg

deliveries = dg.DynamicPartitionsDefinition(name="deliveries")
"""One key per delivery of images."""

annotation_batches = dg.DynamicPartitionsDefinition(name="annotation_batches")
"""One key per batch of annotations."""

review_batches = dg.DynamicPartitionsDefinition(name="review_batches")
"""One key per batch of reviewers' verdicts."""

request_batches = dg.DynamicPartitionsDefinition(name="request_batches")
"""One key per folder of requests for figures."""
