"""Models: which one a name means, the embedded one, and how its chat template turns a prompt into token ids.

It never imports engines or vLLM; transformers and torch are imported only when a model is loaded or built.
"""
