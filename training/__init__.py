"""What joins models, data and metrics: configuration, the loop, checkpoints, records, pictures, reports."""
