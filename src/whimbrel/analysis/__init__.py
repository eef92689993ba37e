"""Pure arithmetic on records; what it derives can always be derived again."""
