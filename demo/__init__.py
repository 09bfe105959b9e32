"""The demo: real calls by third-party clients through a real gateway in network namespaces."""
