"""The command line: checks, tries and explains; reads what the service wrote, never drives it."""
