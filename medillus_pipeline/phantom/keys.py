"""The demo's key and split salt. PUBLIC: anybody can read them here, so they protect nothing.

They exist so that the demo gives the same pseudonyms and the same split every time, on synthetic patients only. A real
landing never uses them: its key is a secret of its own (see `settings.py`).
"""

DEMO_KEY = b"medillus demo key: public, for synthetic patients only"
"""Key of the demo's pseudonymiser; public."""

DEMO_SALT = b"medillus demo split salt: public, for synthetic patients only"
"""Split salt of the demo's pseudonymiser; public."""
