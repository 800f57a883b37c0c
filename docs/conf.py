"""How Sphinx builds the documentation: Markdown pages, one theme, the version from the installed package."""

from importlib.metadata import version as installed_version

project = "actorzoo"
author = "actorzoo contributors"
copyright = "2026, actorzoo contributors"  # noqa: A001 - Sphinx asks for this name
version = release = installed_version("actorzoo")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"actorzoo {release}"
