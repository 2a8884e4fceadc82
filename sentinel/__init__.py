"""Sentinel: a governed door to AI providers, with an exact meter."""

__version__ = "0.1.0"
