"""cpkit deploys and maintains a highly available Kubernetes control plane."""

__version__ = "0.1.0"
