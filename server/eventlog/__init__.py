"""The durable log: one SQLite table, one writer, and the hub that wakes who follows it."""
