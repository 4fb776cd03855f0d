"""The parts of a transfer: finding files, copying one, what is to be remembered, what only the main thread may ask for."""

SWEEP_SECONDS = 60
"""How long the program ``sweep`` may take."""
