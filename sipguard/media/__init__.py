"""Offer/answer, keying, and the life of a pinhole."""
