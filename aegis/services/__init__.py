"""What the daemon does, on ports only: runs executions, talks for their agents, judges, keeps volumes, clears up."""
