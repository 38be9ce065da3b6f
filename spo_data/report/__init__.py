"""The report: a run, or two runs compared, as one HTML page with charts and a table of prompts.

It never imports engines, models, the Hub, cards or formats; matplotlib and Jinja are imported only when a page is made.
"""
