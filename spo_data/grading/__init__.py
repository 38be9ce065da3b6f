"""Grading: what a verdict is, and which ground truths may be wrong; the work is done in the rooms below.

`workers` grade in processes that can be killed, `verifiers` judge, `answers` read. Never imports runs, engines, values
or the sandbox.
"""
