"""mpbond: multipath bonding for Linux at kernel speed."""

__version__ = "0.1.0"
