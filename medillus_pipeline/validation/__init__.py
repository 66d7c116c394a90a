"""Measuring a generator: a judge's Dice with its controls, HU statistics, edits of masks, gates, a report.

Nothing here is trained but the students of `synthetic_training.py`, which are measured and thrown away.
"""
