"""The SPO algorithm: values, divergence, draws and advantages. Only numpy; it imports no verl, torch or other room."""
