"""Values in files: loading them, importing those of other tools, and exporting ours.

It never imports engines, graders, reports or the join; a chat template is loaded only to read a validation dump.
"""
