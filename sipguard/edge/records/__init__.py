"""The way of records out of the guard: into a process that makes and writes them."""
