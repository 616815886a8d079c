"""What the functions stand on: the database schema and the nested stacks."""
