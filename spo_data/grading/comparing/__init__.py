"""Comparing answers: one rule for each pair of kinds, and math-verify for what neither side says as plain numbers."""
