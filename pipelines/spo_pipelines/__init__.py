"""How the library's parts run together."""
