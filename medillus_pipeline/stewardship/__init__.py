"""Taking back what was published: a delivery, an annotation batch, a patient, or what nobody names any more.

Plans and acts on zones and tables. What Dagster and MLflow hold is not here: see `automation/stewardship.py`.
"""
