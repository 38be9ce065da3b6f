"""A Hugging Face hub on loopback: its server, the clients' calls, and the faults that it injects."""
