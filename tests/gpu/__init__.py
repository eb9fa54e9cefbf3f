"""What only a real device can show. ``python -m tests.gpu`` compares it with the CPU, tries its limits and times it."""
