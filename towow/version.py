"""The one version of the client and the server, which are tested together."""

__version__ = "0.1.0"
