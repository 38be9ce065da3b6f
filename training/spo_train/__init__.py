"""Single-stream Policy Optimization on verl: `plan` says what will be trained, `launch` runs it, `trainer` is it."""
