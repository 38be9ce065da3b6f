"""Prompts: a dataset's rows, the prompts made from them, their ids and seeds, and the answer instruction.

It never imports models, tokenizers or engines: a prompt and its id are the same for every model.
"""
