"""From a sentence to what is wanted: the rule-based reader and the LLM's answers."""
