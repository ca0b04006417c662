"""Settings, studies and runs: what is computed, where it is stored, and who computed it."""
