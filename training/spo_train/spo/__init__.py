"""The SPO algorithm: values, divergence, draws and advantages, in numpy only. Never imports verl, torch or a room."""
