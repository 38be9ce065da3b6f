"""Readers: find a source's files, and read values in the formats of other tools as draws of prompts.

They never import writers, runs, engines or graders; they do not write the imported folder.
"""
