"""The interpreters that run a model's programs: in a sandbox on this machine, or behind an HTTP address.

It never imports engines, models, prompts or graders: a program is text, and its result is an `Execution`.
"""
