"""The pages for who reviews blocked calls: a process of its own that only reads."""
