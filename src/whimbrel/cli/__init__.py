"""The command line: the only place that prints or picks exit codes."""
