"""What is wanted: frozen, checked, complete; read from YAML with errors that name file, line and key."""
