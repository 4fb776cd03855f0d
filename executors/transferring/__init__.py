"""The parts of a transfer: finding files, copying one, what is to be remembered, what only the main thread may ask for."""
