"""One thread owns the model: jobs, what they are asked for, who asks. Draws nothing."""
