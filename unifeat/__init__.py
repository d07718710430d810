"""unifeat: what happens to a language model's features when it is fine-tuned or merged."""

__version__ = "0.1.0"
