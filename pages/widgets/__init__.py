"""The parts that several pages are built of."""
