"""What one process does for all: leader workers, retries, and the event bus."""
