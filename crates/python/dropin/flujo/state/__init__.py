"""Where Flujo keeps its state."""
