"""What a run takes of time, memory and disk, and how it stays within what there is."""
