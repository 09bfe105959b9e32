"""The sipguard command."""
