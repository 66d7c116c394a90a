"""Volumes: a label stack in; CT slices that belong together, their files, plates in three planes, surfaces and a scene
for 3D Slicer out. No Dagster here, and no figures with labels (`illustration/figure.py`).
"""
