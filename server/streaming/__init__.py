"""One reader's place in the log, and the wires that carry events to it."""
