"""Writers: a table of values in the formats that trainers read, with an account of what was left out.

They never import readers, runs, engines, models or the Hub; they know only value tables.
"""
