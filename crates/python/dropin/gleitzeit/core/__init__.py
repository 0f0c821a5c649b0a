"""The parts of Gleitzeit that programs import by themselves."""
