"""The API as it is seen from outside while something is done to the cluster: what fails, and for how long."""

from cpkit.watch.watch import Availability, Direct, Followed, Kept, Watch

__all__ = ["Availability", "Direct", "Followed", "Kept", "Watch"]
