"""The scheduler: which take is rendered next, and what an outcome means. Pure: no Ray, no clock of its own."""
