"""The only rooms with sockets, files, netlink and clocks."""
