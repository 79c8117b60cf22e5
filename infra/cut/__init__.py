"""The cut: takes in order on a timeline, stitched into one film, exact to the frame. README.md tells more."""
