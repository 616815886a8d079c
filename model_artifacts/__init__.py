"""The shipped model packages, and the commands that train, export and check such packages."""
