"""Values: the columns of the tables, a prompt's value from its scores, and the checks that a table must pass.

It never imports runs, engines, models or the Hub; Arrow is imported only when a table is read or written.
"""
