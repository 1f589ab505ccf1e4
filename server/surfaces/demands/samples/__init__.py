"""The built-in sample agents, which answer through the same commands as anybody."""
