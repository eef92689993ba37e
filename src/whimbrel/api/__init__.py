"""What one can ask for: from Python, where ``import whimbrel`` has it, and from the command line, which puts it into words."""
