"""What annotators and clinics hand in, one module a format: a file becomes a `Drawing`. And the way back, for export.

A reader keeps nothing of a file but shapes and what they are of. Who drew them, and what becomes of a drawing, is
decided above.
"""
