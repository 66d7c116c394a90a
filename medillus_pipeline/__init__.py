"""From a hospital's image archive to a labelled medical illustration."""

__version__ = "0.1.0"
