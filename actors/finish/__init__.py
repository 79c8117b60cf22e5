"""From rendered frames to a committed film, on the node of the gang."""
