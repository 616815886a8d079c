"""What the functions need around them: the database schema, the nested stacks and the packages."""
