"""Synthetic patients: torsos rendered to identified CT series with annotations, for the demo and the tests.

Everything here is invented. What is not here: anything that a real landing uses.
"""
