"""Measuring a generator: a judge's Dice with its controls, HU statistics, gates, a report. Nothing here is trained."""
