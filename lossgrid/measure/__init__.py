"""Numbers that say what a stored surface is like; definitions in docs/measures.md."""
