"""Small PyTorch networks of our own, exported with both exporters: the golden models."""
