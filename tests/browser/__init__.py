"""What a browser is given, read without one."""
