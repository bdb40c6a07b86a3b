"""Facts: the frozen values that clients bring, `observe` gathers, `plan` and `status` decide on. No I/O, no rules."""
