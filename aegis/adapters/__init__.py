"""What the ports look like in the real world: one package for each foreign system, none of which knows another."""
