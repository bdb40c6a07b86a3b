"""Facts: frozen values that clients read, `observe` gathers, and `rules`, `plan` and `status` use. No I/O, no rules."""
