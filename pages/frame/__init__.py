"""What stands round every page: sidebar, strip, badge."""
