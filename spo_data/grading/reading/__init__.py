"""Reading an answer: which kind of thing a text says (a number, a quantity, a set, a relation, ...).

Never imports another room, nor sympy.
"""
