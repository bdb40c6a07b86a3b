"""What the tests on real parts share: stacks, an administrator's access, operators, people, and the invariants."""
