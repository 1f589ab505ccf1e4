"""Who writes texts: a chat API, or the small local model."""
