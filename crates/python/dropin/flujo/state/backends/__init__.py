"""Where runs are kept, one module a store."""
