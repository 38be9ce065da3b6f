"""Single-stream Policy Optimization on verl: `plan` assembles a run, `launch` starts it, `hooks` carry it out."""
