"""The two commands, `spo-data` and `spo-train`: parsing, printing and exit statuses; no logic."""
