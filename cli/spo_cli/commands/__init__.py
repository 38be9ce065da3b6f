"""The commands of `spo-data`, one per file: each parses its options, calls the library or a pipeline, and prints.

They never import each other, except that `estimate` and `regrade` print with `show`; `found_run` reads the run that a
command names. Only `list` imports spo_train.
"""
