"""What the servers of this machine share: the protocol, the listening socket, and the sites they answer to."""
