"""What `celebgen info` gathers: a page of text about a run, a model, a dataset or a picture. Knows JSON, no torch."""
