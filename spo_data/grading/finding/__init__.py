"""Finding the answer in a response: what it marks, or else what its end states.

Never imports verifiers or workers.
"""
