"""The cases that source documents name, against a real server process."""
