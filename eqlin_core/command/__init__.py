"""The command ``eqlin``: one file for each subcommand, and torch only where one of them needs it."""
