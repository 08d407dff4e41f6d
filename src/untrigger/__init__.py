"""untrigger: purify language models and LoRA adapters from backdoors."""

__version__ = "0.1.0"
