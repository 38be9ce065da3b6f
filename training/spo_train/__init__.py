"""Single-stream Policy Optimization on verl: `plan` assembles a run, `launch` starts it, `hooks` carry it out.

It never imports spo_pipelines or spo_cli.
"""
