"""verl as a watched process: start, progress, end and cause. Never imports config, data or plan."""
