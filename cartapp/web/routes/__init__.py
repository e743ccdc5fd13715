"""Routes: each parses, calls and answers, and decides nothing."""
