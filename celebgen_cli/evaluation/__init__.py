"""Measures of generated and reconstructed faces; every metric is a function of two image sources and plain numbers."""
