"""Measures of many prompts in tables: read, planned, computed in batches, written as they come, resumed."""
