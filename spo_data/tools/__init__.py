"""Tool-integrated responses: the loop between a model and a code interpreter, and the interpreters."""
