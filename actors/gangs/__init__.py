"""Gangs: ranks that render one take together, how they begin and end, and who is lent which."""
