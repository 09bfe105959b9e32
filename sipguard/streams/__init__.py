"""SIP messages out of connections: strictly for live ones, tolerantly for captures."""
