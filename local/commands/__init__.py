"""The commands of `python -m local`: serve the API, invoke a function, print a token."""
