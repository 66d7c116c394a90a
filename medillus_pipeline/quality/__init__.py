"""Gates on tables: what must hold (`suites.py`, declarative) and how a table is held to it (`gate.py`)."""
