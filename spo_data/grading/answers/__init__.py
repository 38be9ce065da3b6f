"""Answers: extracting the answer from a response, and comparing it with a ground truth as a number, formula or text.

Never imports another room.
"""
