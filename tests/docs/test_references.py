"""Everything that a page, a docstring or a comment names is there."""

import pytest

from tests.docs.known import ROOT, Known
from tests.docs.references import References
from tests.docs.texts import of_file

KNOWN = Known()
REFERENCES = References(KNOWN)
_TEXTS = (".md", ".py", ".lua", ".yaml", ".toml", ".importlinter", "Makefile")
READ = sorted(path for path in KNOWN.paths if path.endswith(_TEXTS) and (KNOWN.root / path).is_file())


@pytest.mark.parametrize("path", READ)
def test_what_a_text_names_exists(path: str) -> None:
    broken = [problem for text in of_file(ROOT, path) for problem in REFERENCES.broken(text)]
    assert not broken, "\n".join(broken)
