"""Which candidate to build, and which to keep."""
