"""verl's configuration: presets, overrides and checks. Never imports data, hooks, plan or launch."""
