"""Reading an answer: which kind of thing a text says (a number, a quantity, a set, a relation, ...).

Nothing here imports sympy or compares anything. `comparing` decides whether two answers are equal.
"""
