"""Answers: extracting the answer from a response, and comparing it with a ground truth as a number, formula or text.

Never imports the verifiers, the pool or anything else of the library.
"""
