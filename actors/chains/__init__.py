"""Takes that start from others, or are copies of them: which, and whether they stand in the store already."""
