"""Speed, always both sides in one run and as a ratio. Not tests: they measure, they do not judge."""
