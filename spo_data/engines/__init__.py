"""Engines: what samples a response for a request (vLLM in this process), and the tool loop around an engine.

It never imports graders, value tables or run folders; vLLM is imported only when an engine starts.
"""
