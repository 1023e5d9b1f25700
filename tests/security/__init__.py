"""Nothing foreign runs, nothing leads out of its folder, no secret is written down."""
