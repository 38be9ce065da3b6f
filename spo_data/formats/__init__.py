"""Formats of other tools: import of their values, and export of ours.

It never imports engines, graders, reports or the join; a chat template is loaded only to read a validation dump.
"""
