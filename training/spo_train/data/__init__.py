"""The files that a training run reads: training rows, scores, first responses. Never imports verl or torch."""
