"""Pipelines that run the library's parts together: `check`, `estimate`, `regrade` and `push`.

They never import spo_train or spo_cli, print nothing, and parse no command line.
"""
