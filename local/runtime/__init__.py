"""Lambda's look-alike: execution environments, the functions in them, and what triggers a function besides HTTP."""
