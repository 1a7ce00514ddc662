"""celebgen: text to face on CelebA."""

__version__ = "0.1.0"
