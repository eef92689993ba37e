"""What is seen while it happens: a page, metrics and spans, made in a process of their own."""
