"""Grading: turns a response and a ground truth into a verdict, in worker processes that can be killed.

Never imports run, engines, values or sandbox.
"""
