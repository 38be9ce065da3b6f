"""The two commands, `spo-data` and `spo-train`: parsing, printing and exit statuses, no logic.

Pipelines, training and heavy packages are imported within a command, so that `--help` is fast; nothing else
ever imports spo_cli.
"""
