"""Pure losses, one idea a file."""
