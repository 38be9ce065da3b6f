"""Pipelines that run the library's parts together: `check`, `estimate`, `regrade` and `push`.

They import spo_data only: nothing here prints, parses a command line, or imports spo_train or spo_cli.
"""
