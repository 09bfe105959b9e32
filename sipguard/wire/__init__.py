"""Octets to frozen values: no state, no clock, no policy."""
