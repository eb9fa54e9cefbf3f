"""Reports: a run, or two side by side, in one file for people, that holds the run itself and proves what it shows."""
