"""The command line: `roomkeeper`, and `kubectl roomkeeper`, which is the same program.

- `main`      the program: its name, its errors, the exit status
- `commands`  the table of all commands; a module is imported when its command is invoked
- `plugins`   commands that other packages bring, for instance the sandbox

One module per command or group of commands (`operator`, `replay`, `version`): each offers its `app`.
"""
