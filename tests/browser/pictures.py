"""Pictures of the screens, for a person to look at: set NATEQ_PICTURES to a directory."""

import os
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

_DIRECTORY: Final = os.environ.get("NATEQ_PICTURES")


def take_picture(page: Page, screen: str, kind: str) -> None:
    """Take a picture of the whole page, if anybody wants one."""
    if _DIRECTORY:
        page.screenshot(path=Path(_DIRECTORY) / f"{screen.replace(' ', '-')}-{kind}.png", full_page=True)
