"""Measures of pictures: what a clip shows, told without a learned model."""
