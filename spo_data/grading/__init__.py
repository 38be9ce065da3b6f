"""Grading: verdicts, extraction of answers, verifiers, and the pool of processes they run in."""
