"""Runs on their way to the HuggingFace Hub, and back."""
