"""Human review of a generator: a blind sheet, signed verdicts, what they say together, and who approved."""
