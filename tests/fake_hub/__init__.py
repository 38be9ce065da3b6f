"""A Hugging Face hub on loopback: what serves it, what its clients do, and the faults that it injects."""
