"""Holds the documentation to the code: links lead somewhere, commands parse, recipes are valid, Python compiles.

Running the Python blocks is the test suite's (tests/test_docs.py). Run: python docs/check.py
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import InputError

ROOT = Path(__file__).parents[1]
SHELL = ("sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, the line where it begins, the words after the language."""

    language: str
    text: str
    line: int
    words: tuple[str, ...] = ()


def list_pages() -> list[Path]:
    """The pages that are held."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def find_blocks(text: str) -> list[Block]:
    """All fenced blocks."""
    blocks, lines, start, head = [], text.splitlines(), None, []
    for number, line in enumerate(lines, 1):
        if line.startswith("```") and start is None:
            start, head = number, line[3:].split()
        elif line.startswith("```"):
            blocks.append(Block(head[0] if head else "", "\n".join(lines[start : number - 1]), start, tuple(head[1:])))
            start = None
    return blocks


def find_problems(page: Path, text: str | None = None) -> list[str]:
    """Everything that is wrong with a page, one line each."""
    text = page.read_text(encoding="utf-8") if text is None else text
    problems = [f"{page.name}: link to {link} leads nowhere" for link in dead_links(page, text)]
    for block in find_blocks(text):
        checked = {"toml": check_recipe, "python": check_python}.get(block.language)
        found = [*(checked(block.text) if checked else ())]
        if block.language in SHELL:
            found = [problem for line in command_lines(block.text) for problem in check_command(line)]
        problems += [f"{page.name}:{block.line}: {problem}" for problem in found]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for command in re.findall(r"`(limbeck [a-z][^`]*|make [a-z-]+)`", prose):
        problems += [f"{page.name}: {problem}" for problem in check_inline(command)]
    return problems


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Relative links to files or headings that are not there."""
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def command_lines(text: str) -> Iterator[str]:
    """The commands of a shell block; continued lines joined, comments and prompts dropped."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.split(r"\s#|^#", line)[0].removeprefix("$ ").strip()
        if line:
            yield line


def check_command(line: str) -> list[str]:
    """What is wrong with one command line; commands of other programs are let through."""
    words = shlex.split(line)
    while words and "=" in words[0] and not words[0].startswith("-"):
        words = words[1:]  # variables before the command
    if words[:2] == ["torchrun", "--nproc-per-node"]:
        words = ["limbeck", *words[words.index("limbeck.cli") + 1 :]] if "limbeck.cli" in words else words
    if not words:
        return []
    if words[0] == "limbeck":
        return check_limbeck(words[1:])
    if words[0] == "make":
        return [f"make has no target {word}" for word in words[1:] if word not in make_targets()]
    if words[0] == "python" and words[1:] and words[1].endswith(".py"):
        return [] if (ROOT / words[1]).exists() else [f"{words[1]}: no such file"]
    if "install" in words[:4]:
        return check_install(line)
    return []


def check_limbeck(words: list[str]) -> list[str]:
    """Parse as the command line itself does, and read the recipe fields that `--set` names."""
    verbs = limbeck_verbs()
    if not words or words[0].startswith("-"):
        return [] if set(words) <= {"--help", "--version", "--debug"} else [f"limbeck has no option {words[0]}"]
    if words[0] not in verbs:
        return [f"limbeck has no verb {words[0]}"]
    if "--help" in words:
        return []
    try:
        parsed = verbs[words[0]].make_context(words[0], list(words[1:]))
    except Exception as error:  # a usage error, of whichever copy of click Typer carries
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        return [f"limbeck {' '.join(words)}: {told}"]
    return check_changes(parsed.params.get("changes") or [])


def check_changes(changes: list[str]) -> list[str]:
    """What is wrong with `--set` values, against a whole recipe."""
    from limbeck.pipeline.start import open_recipe, parse_changes

    try:
        open_recipe("quickstart", parse_changes(changes))
    except InputError as error:
        return [str(error)]
    return []


def check_inline(command: str) -> list[str]:
    """A command in running text may hold placeholders: its verb and its options' names are checked."""
    words = re.sub(r"[\[\]|.]", " ", command).split()
    if words[0] == "make":
        return check_command(command)
    if words[1] not in limbeck_verbs():
        return [f"limbeck has no verb {words[1]}"]
    known = {name for parameter in limbeck_verbs()[words[1]].params for name in parameter.opts} | {"--help"}
    return [f"limbeck {words[1]} has no option {word}" for word in words if word.startswith("-") and word not in known]


def check_recipe(text: str) -> list[str]:
    """A TOML block is a recipe, or some sections of one."""
    from limbeck.recipe import parse_recipe

    whole: dict[str, Any] = {"student": {"model": "mobilenet_v3_small"}}
    try:
        parse_recipe({**whole, **tomllib.loads(text)}, where="recipe", default_name="documented")
    except (InputError, tomllib.TOMLDecodeError) as error:
        return [str(error)]
    return []


def check_python(text: str) -> list[str]:
    """A Python block compiles."""
    try:
        compile(text, "block", "exec")
    except SyntaxError as error:
        return [f"Python: {error}"]
    return []


def check_install(line: str) -> list[str]:
    """Extras that are asked for exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [extra.strip() for group in re.findall(r"\[([\w, ]+)\]", line) for extra in group.split(",")]
    return [f"there is no extra [{extra}]" for extra in asked if extra not in project["optional-dependencies"]]


def make_targets() -> set[str]:
    """Targets of the Makefile."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def limbeck_verbs() -> dict[str, Any]:
    """The verbs of the command line, as it defines them."""
    import typer

    from limbeck.cli import app

    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def main() -> None:
    """Print every problem; exit 1 where there is one."""
    problems = [problem for page in list_pages() for problem in find_problems(page)]
    print("\n".join(problems) or f"docs: {len(list_pages())} pages hold")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
