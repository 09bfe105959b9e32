"""SIP messages out of octet streams: strictly where they are judged, tolerantly in a capture."""
