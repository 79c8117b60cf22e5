"""The review: looking at takes, and saying which are good. What the page and the command line share, and the page."""
