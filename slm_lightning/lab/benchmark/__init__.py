"""Sets of specs, run as trials, and the pages that show what they came to."""
