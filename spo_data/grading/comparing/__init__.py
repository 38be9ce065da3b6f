"""Comparing two answers: one rule for each pair of kinds, and math-verify for formulas.

Never imports what finds an answer in a response.
"""
