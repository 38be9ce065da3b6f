"""The join: which training prompts have a value, which have none, and why.

It never imports runs, engines, models, graders or formats; it joins prompts with a table of values.
"""
