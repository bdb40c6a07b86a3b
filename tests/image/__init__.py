"""The image: its Dockerfile, what it installs, and (`build_and_run.py`, for `make test-image`) the image itself."""
