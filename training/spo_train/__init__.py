"""Single-stream Policy Optimization on verl. Not there yet: `spo-train` says what it will need."""
