"""SIP over TCP, TLS and WebSocket: connections that end here and start again towards the server."""
