"""The commands of `spo-data`, one per file: each parses its options, calls the library or a pipeline, and prints.

No command imports spo_train or another command, except that `estimate` and `regrade` print with `show`.
"""
