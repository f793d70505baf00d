"""The rooms of the package: imports run one way, in no circle. `python -m tests.test_architecture`
prints the layers.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "avcheck"
TESTS = Path(__file__).parent
BENCH = PACKAGE.parent / "bench"
VAGUE = {"found", "told", "seen", "there", "where"}  # names that say nothing of what they hold
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_TEST_FILE = 450, 80, 400  # lines

DOCUMENT = PACKAGE.parent / "docs/architecture.md"


def rooms() -> list[str]:
    """The rooms of the package from the top down, as the document lists them."""
    listed = DOCUMENT.read_text(encoding="utf-8").split("```")[1]
    names = re.findall(r"^([a-z_]+)/? ", listed, re.MULTILINE)
    return ["__main__", "__init__", *names]


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, those in functions and for types too."""
    names: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{each.name}" for each in node.names}
            names |= {name if is_module(name) else str(node.module) for name in inner}
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return {name for name in names if name.partition(".")[0] == "avcheck"}


@cache
def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph() -> dict[str, set[str]]:
    """Every module and what it imports."""
    return {
        name_of(path): imports(path) - {name_of(path)} for path in sorted(PACKAGE.rglob("*.py"))
    }


def folder(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def test_the_document_lists_every_room_once() -> None:
    assert sorted(rooms()) == sorted({folder(module) for module in graph()})


def test_no_module_imports_itself_by_a_detour() -> None:
    TopologicalSorter(graph()).prepare()  # raises CycleError, which names the circle


def test_imports_run_downwards_in_the_document() -> None:
    order = {name: n for n, name in enumerate(rooms())}
    upwards = [
        f"{module} -> {other}"
        for module, others in graph().items()
        for other in others
        if order[folder(other)] < order[folder(module)]
    ]
    assert not upwards


@pytest.mark.parametrize(("root", "most"), [(PACKAGE, LONGEST_FILE), (TESTS, LONGEST_TEST_FILE)])
def test_no_file_is_too_long(root: Path, most: int) -> None:
    long = {
        path.name: n
        for path in root.rglob("*.py")
        if (n := path.read_text(encoding="utf-8").count("\n")) > most
    }
    assert not long


def test_no_function_is_too_long() -> None:
    long = {
        f"{path.name}: {node.name}": n
        for path in PACKAGE.rglob("*.py")
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef)
        # The options of a command are its parameters
        for first in [node.body[0] if path.parent.name == "cli" else node]
        if (n := (node.end_lineno or 0) - first.lineno + 1) > LONGEST_FUNCTION
    }
    assert not long


def test_no_name_is_vague() -> None:
    """Of a variable, parameter, field, function or class, or of an import."""
    vague = [
        f"{path.relative_to(PACKAGE.parent)}: {name}"
        for root in (PACKAGE, TESTS, BENCH)
        for path in sorted(root.rglob("*.py"))
        for node in nodes_of(path)
        if (name := name_given(node)).strip("_") in VAGUE
    ]
    assert not vague


def name_given(node: ast.AST) -> str:
    """The name that a piece of code gives to something; "" if it gives none."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
        case ast.arg(arg=name):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
            return name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return name
    return ""


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "found: int",
        "self._found = 1",
        "for (_, found) in x: pass",
        "y = [found for found in x]",
        "(found := 1)",
        "with x as found: pass",
        "def f(found): pass",
        "def f(*, found=1): pass",
        "lambda *found: 0",
        "def found(): pass",
        "import x as found",
        "try: pass\nexcept E as found: pass",
        "match x:\n case [found, *_]: pass",
        "match x:\n case [_, *found]: pass",
    ],
)
def test_a_name_is_known_wherever_it_is_given(code: str) -> None:
    assert "found" in {name_given(node).strip("_") for node in ast.walk(ast.parse(code))}
    assert not VAGUE & {name_given(node) for node in ast.walk(ast.parse("y = np.where(x.found)"))}


def test_every_field_of_a_dataclass_says_what_it_holds() -> None:
    silent = [
        f"{path.relative_to(PACKAGE.parent)}: {field}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for field in silent_fields(path.read_text(encoding="utf-8"))
    ]
    assert not silent


def silent_fields(code: str) -> list[str]:
    """The fields of dataclasses without a comment on their line or above it, and not named in the
    docstring of their class.
    """
    lines = code.splitlines()
    return [
        f"{node.name}.{name}"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ClassDef)
        and any("dataclass" in ast.unparse(each) for each in node.decorator_list)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        for name in [ast.unparse(field.target)]
        if "#" not in "".join(lines[field.lineno - 1 : field.end_lineno])
        and not lines[field.lineno - 2].lstrip().startswith("#")
        and not re.search(rf"\b{name}\b", ast.get_docstring(node) or "")
    ]


@pytest.mark.parametrize(
    ("fields", "silent"),
    [
        ("rate: int  # of samples", []),
        ("# Of samples\n    rate: int", []),
        ("rate: int = (\n        1  # of samples\n    )", []),
        ("start_s: float", []),
        ("start: float", ["Run.start"]),
        ("rate: int  # of samples\n    count: int", ["Run.count"]),
    ],
)
def test_a_field_without_a_word_is_known(fields: str, silent: list[str]) -> None:
    run = '@dataclass(frozen=True)\nclass Run:\n    """Sound from `start_s` on."""\n\n    '
    assert silent_fields(run + fields) == silent


def test_a_message_does_not_begin_with_its_verb() -> None:
    """It has to read well after "film.mp4: error: " and by itself in a record's `reason`: "the file
    has no audio track", not "has no audio track".
    """
    said_of_an_option = PACKAGE / "cli/usage.py"  # "--sample is 0, not ..."
    begun = [
        f"{path.relative_to(PACKAGE)}: {node.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != said_of_an_option
        for node in nodes_of(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"(is|has|does|needs|holds|cannot be|asks|carries) ", node.value)
    ]
    assert not begun


def test_errors_of_the_library_name_parameters_not_options() -> None:
    """`avcheck.cli.usage.said` puts the option in their place. `render.output` reads the texts of
    an option itself; reports say what to do in terms of the command.
    """
    wrong = [
        f"{name_of(path)}:{node.lineno}: {part.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "cli" and name_of(path) != "avcheck.render.output"
        for node in nodes_of(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "UsageError"
        for part in ast.walk(node)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, str)
        and re.search(r"(^|[^\w`-])--[a-z]", part.value)
        and "`avcheck" not in part.value
    ]
    assert wrong == []


def test_no_test_module_imports_another() -> None:
    """What several need is in tests/support, which imports no test module either."""
    others = [
        f"{path.name}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in nodes_of(path)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imported(node)
        if re.search(r"(^|\.)(test_\w+|conftest)(\.|$)", name)
    ]
    assert not others


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules, and the names in them, of one import statement."""
    names = [each.name for each in node.names]
    return names if isinstance(node, ast.Import) else [f"{node.module}.{name}" for name in names]


if __name__ == "__main__":
    for name in rooms():
        print(name)
        for module, others in graph().items():
            if folder(module) == name:
                print(f"    {module} <- {', '.join(sorted(others))}")
