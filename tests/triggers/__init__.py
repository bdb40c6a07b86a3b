"""What wakes the loop up: routing and webhooks."""
