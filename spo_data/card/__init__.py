"""The dataset card: a run as README.md, merged with what a user wrote into it.

It never imports engines, verifiers, reports or formats; it reads a run's journal, manifest and summary.
"""
