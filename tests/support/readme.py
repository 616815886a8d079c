"""What stands in the README, for tests that run it."""

import re

from tests.support.repository import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def blocks(section: str, language: str) -> list[str]:
    """Return the fenced blocks of a section that are written in a language, such as `sh`."""
    text = re.split(rf"^## {re.escape(section)}$", README, flags=re.MULTILINE)[1]
    text = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    return [re.sub(r"(?m)^ {3}", "", block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
