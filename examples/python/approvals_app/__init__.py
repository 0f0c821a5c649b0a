"""An approval queue, a chat that asks back, and a job that loses no row: recipes for `TaskClient`."""
