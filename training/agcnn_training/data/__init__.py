"""From label tables and image files to training batches."""
