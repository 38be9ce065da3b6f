"""The processes that grade: a pool of them, killed and replaced from outside, and the job that each runs.

Never imports runs, engines or values.
"""
