"""The documentation as a website: `make site` builds it from docs/ with Sphinx, MyST and furo, without a network.

`make site` installs these once, into .venv/website, from where nothing else imports them (`requirements.txt`).

The pages stay plain Markdown that GitHub shows, with relative links. `pages` reads docs/README.md, which is the
navigation, `staging` lays the pages out for Sphinx, `conf.py` is Sphinx' configuration, and `__main__` runs it.
"""
