"""How the values of a tensor are made."""
