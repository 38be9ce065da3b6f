"""Verifiers: one class for each way to decide whether a response is right, each callable without the pool.

Never imports the workers.
"""
