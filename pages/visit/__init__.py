"""One browser tab: what it asked for, how it follows its jobs."""
