"""The scripts, the client and the typed calls, on real servers: Valkey always, Redis too where it is on PATH."""
