"""What is remembered of what was seen: caches and views."""
