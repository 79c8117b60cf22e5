"""From pixels that are given to what a checkpoint is told of a clip, for every task.

`spans` says which frames of a source a task looks at and where in the clip they stand (no torch), `pixels` looks at
what is given before anything is made of it, `build` makes the `Condition`, `takes` renders a take of any task with it.
"""
