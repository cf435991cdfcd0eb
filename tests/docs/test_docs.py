"""The documents say what the program does."""

import re
import sqlite3
import tomllib
from contextlib import closing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer

from agcnn_clinic.cli.main import app
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.views import finding_list, review_list, study_summary
from agcnn_clinic.domain import NOT_ABOUT_THE_BYTES, REASONS, Outcome, ReasonCode, Warn
from agcnn_clinic.domain import WARNINGS as WARNING_SENTENCES
from agcnn_clinic.intake.study_toml import StudyToml
from agcnn_training.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
DATABASE = (ROOT / "docs" / "DATABASE.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
PRESENT = [path for path in (*DOCUMENTS, ROOT / "config.toml") if path.name != "CHANGELOG.md"]
"""What tells of the program as it is, and not as it was."""
PROGRAM = r"(?:^|(?<=bin/)|(?<=exec agcnn-clinic )|(?<=/clinic )|(?<=xargs -r -d '\\n' ))agcnn-clinic "
"""Before a command: at the beginning, with a path, behind sudo or runuser, in a container, behind a pipe."""
SECTIONS = {
    name: field.annotation.model_fields
    for name, field in (*Config.model_fields.items(), *Recipe.model_fields.items())
    if hasattr(field.annotation, "model_fields")
}
"""Of config.toml and of recipes, which share no name."""
ROOMS = {path for path in (ROOT / "agcnn_clinic").glob("[a-z]*") if path.name != "py.typed"}
ENDINGS = ("csv", "dump", "py", "sqlite", "toml", "txt")
"""What follows the dot where a section's name is a file's."""


@pytest.mark.parametrize("view", [finding_list, study_summary, review_list], ids=lambda view: view.name)
def test_every_column_of_a_view_is_documented_in_order(view):
    """docs/DATABASE.md lists exactly the columns that there are, with their types."""
    section = DATABASE.split(f"## {view.name}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (.+) \|$", section, flags=re.MULTILINE)
    documented = [(name, kind, comment.replace(r"\|", "|")) for name, kind, comment in rows]
    columns = [(column.name, type(column.type).__name__.lower(), column.comment) for column in view.columns]
    assert documented == columns


CARD = ROOT / "models" / "bundles" / "starter" / "MODEL_CARD.md"


@pytest.mark.parametrize("path", [*DOCUMENTS, CARD], ids=lambda path: path.name)
def test_every_line_of_a_table_has_the_cells_of_its_heading(path):
    """What is beyond them is not shown at all, as after a stroke in a cell that should be written with a backslash."""
    for table in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
        heading, *lines = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert lines == [heading] * len(lines), table


def test_every_reason_is_documented_and_leads_to_an_outcome():
    """Each reason code has an outcome, a sentence with advice, and a line in docs/DATABASE.md."""
    assert set(REASONS) == set(ReasonCode)
    for code, (outcome, sentence) in REASONS.items():
        assert outcome is not Outcome.PENDING
        assert sentence.endswith(".")
        assert f"| {outcome} | {code} | {sentence} |" in DATABASE


def test_the_reasons_that_do_not_speak_for_the_bytes_are_documented():
    """Who sends a file again must know whether it is looked at again."""
    listed = DATABASE.split("is judged anew:")[1].split(".")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == NOT_ABOUT_THE_BYTES


def test_every_remark_has_a_sentence_and_is_documented():
    """The report can print each remark, and docs/DATABASE.md says what each code means."""
    assert set(WARNING_SENTENCES) == set(Warn)
    assert [code for code, sentence in WARNING_SENTENCES.items() if f"| {code} | {sentence} |" not in DATABASE] == []


def test_the_settings_file_holds_every_option_with_its_default():
    """config.toml is the reference manual: complete, and true about the defaults."""
    written = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))
    # Read as settings, what is left out would be there with its default.
    named = {(section, name) for section, settings in written.items() for name in settings}
    assert named == {(section, name) for section in Config.model_fields for name in SECTIONS[section]}
    assert load_config(ROOT / "config.toml").model_dump() == Config().model_dump()


def test_every_setting_has_a_comment():
    """Above each option, or above the group it stands in, a line says what it does."""
    lines = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            above = lines[:number]
            while above and above[-1] and not above[-1].startswith(("#", "[")):
                above.pop()
            assert above, line
            assert above[-1].startswith("#"), line


def test_help_tells_of_every_command_option_and_argument():
    """`--help` leaves nobody to guess what an option is for."""
    left = [((), typer.main.get_command(app))]
    while left:
        names, command = left.pop()
        assert command.help, names
        assert [option.name for option in command.params if not option.help] == [], names
        left += [((*names, name), one) for name, one in getattr(command, "commands", {}).items()]


def test_the_readme_names_every_command():
    """A command that the README does not show is one that nobody finds."""
    group = typer.main.get_command(app)
    for name in group.commands:
        assert re.search(rf"agcnn-clinic [^\n]*\b{name}\b|make {name}\b", README), name


@pytest.fixture(scope="module")
def clinic(tmp_path_factory, factories, new_clinic):
    """The folder of a clinic with studies in its database."""
    folder = tmp_path_factory.mktemp("clinic")
    with open_database(new_clinic(folder).database_url) as database, database.write() as session:
        factories.make_clinic_rows(session, studies=20, images=2, models=1, seed=5)
    return folder


@pytest.mark.sqlite_only("its file is asked, as a reader of it would")
def test_the_queries_of_the_manual_run(clinic):
    """Each statement of docs/DATABASE.md is one that a reader of the file may ask."""
    statements = [one for block in re.findall(r"```sql\n(.*?)```", DATABASE, re.DOTALL) for one in block.split(";")]
    with closing(sqlite3.connect(f"file:{clinic / 'clinic.sqlite'}?mode=ro", uri=True)) as connection:
        asked = [connection.execute(one) for one in statements if one.strip() and "GRANT" not in one]
    assert len(asked) >= 3


@pytest.mark.sqlite_only("the program opens its file")
def test_the_program_of_the_readme_runs(clinic, monkeypatch):
    """What the README shows of pandas gives the positive findings."""
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(clinic)
    names: dict[str, object] = {}
    exec(program, names)
    names["clinic"].close()
    assert len(names["findings"])
    assert names["findings"]["positive"].all()


def test_the_readme_tells_of_every_key_of_a_study_toml():
    """Its example is a valid one, and the other keys are named below it."""
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    shown = StudyToml.model_validate(tomllib.loads(text)).model_fields_set
    assert [key for key in StudyToml.model_fields.keys() - shown if f"`{key}`" not in README] == []


def test_the_recipe_of_the_manual_can_be_read(tmp_path):
    """What docs/TRAINING.md shows as a recipe of one's own is one, and changes what it says."""
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "TRAINING.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    assert recipe.name == "mine"
    assert {phase.epochs for stage in recipe.stages for phase in stage.phases} == {20}


def names_of_settings(table: type) -> set[str]:
    """What a recipe's table may hold, at any depth."""
    names = set(getattr(table, "model_fields", ())) or {one.name for one in fields(table)}
    kinds = [kind for name, hint in get_type_hints(table).items() if name in names for kind in (hint, *get_args(hint))]
    tables = [kind for kind in kinds if is_dataclass(kind) or hasattr(kind, "model_fields")]
    return names.union(*map(names_of_settings, tables))


def keys_of(content: object) -> set[str]:
    """What a recipe's file holds, at any depth."""
    if isinstance(content, dict):
        return content.keys() | set().union(*map(keys_of, content.values()))
    return set().union(*map(keys_of, content)) if isinstance(content, list) else set()


def test_every_setting_of_a_recipe_can_be_found():
    """A recipe that ships has it, or docs/TRAINING.md names it as code."""
    manual = set(re.findall(r"`(?:\w+\.)*(\w+)[^`]*`", (ROOT / "docs" / "TRAINING.md").read_text(encoding="utf-8")))
    shipped = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "training/recipes").glob("*.toml")]
    assert names_of_settings(Recipe) - manual.union(*map(keys_of, shipped)) == set()


def code_of(document: Path) -> list[str]:
    """What stands as code in a document: between backticks, and whole lines that are indented."""
    text = re.sub(r"\\\n +", "", document.read_text(encoding="utf-8"))
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    (\S.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_command_line_is_one_that_the_program_takes(document):
    """Commands that documents show exist, and so do their options."""
    group = typer.main.get_command(app)
    for code in code_of(document):
        lines = re.split(PROGRAM, code.split("  #")[0])[1:]
        if code.split()[0] in group.commands:  # the documents leave the program's name out where it is clear
            lines.append(code)
        for line in lines:
            command, left = group, re.sub(r"^(--debug|--config \S+)\s+", "", line.split(" | ")[0]).split()
            while hasattr(command, "commands") and left and not left[0].startswith(("-", "...")):
                assert left[0] in command.commands, code
                command, left = command.commands[left[0]], left[1:]
            options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            named = {word for word in left if re.match("--?[a-z]", word)}
            assert options | {"--help"} >= named, code


@pytest.mark.parametrize(
    "document",
    # What the benchmark measures has such names, too.
    [path for path in PRESENT if path.name != "PERFORMANCE.md"],
    ids=lambda path: path.name,
)
def test_every_setting_that_is_named_exists(document):
    """`section.name` is a setting of config.toml or of recipes wherever it begins with a section's name."""
    text = document.read_text(encoding="utf-8")
    for section, name in re.findall(rf"(?<![\w./-])({'|'.join(SECTIONS)})\.([a-z_]+)\b", text):
        assert name in SECTIONS[section] or name in ENDINGS, f"{section}.{name}"


NAMED = re.compile(r"(?<![\w/.-])(?:tests|bench|docs|deploy|training|models|alembic|agcnn_\w+)/[\w./-]*")
"""A path of the repository."""


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(document):
    """What documents call by a path of the repository lies there, but for what the benchmark will write."""
    named = {path for code in code_of(document) for path in NAMED.findall(code)} - {"bench/results/"}
    roots = (ROOT, ROOT / "models", ROOT / "training")
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def test_the_map_of_the_rooms_is_whole():
    """What docs/ARCHITECTURE.md lists is there, and all rooms of the clinic are listed."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8").split("## Where each thing is known")[1]
    building, listed = ROOT, set()
    for line in re.findall(r"^    ( *\S.*)$", text, re.MULTILINE):
        paths = re.match(r" *((?:[\w./]+(?:/|\.py) *)+)", line)[1].split()
        if not line.startswith(" "):
            building = ROOT / paths[0]
        listed |= {building / path for path in (paths if line.startswith(" ") else ["."])}
    assert [path for path in listed if not path.exists()] == []
    assert listed >= ROOMS


def test_every_room_of_the_clinic_has_its_layer():
    """What import-linter is not told of may import anything, and be imported by anything."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers"]
    layered = sorted(room for layer in layers for room in layer.split(" | "))
    assert layered == sorted(path.stem for path in ROOMS)


def test_every_library_is_explained():
    """docs/DEPENDENCIES.md names all that the program needs, and all that its extras bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = re.sub("[^a-z0-9]", "", (ROOT / "docs" / "DEPENDENCIES.md").read_text(encoding="utf-8").lower())
    for needed in (
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ):
        name = re.match(r"[\w-]+", needed)[0].removeprefix("pylibjpeg-")
        assert re.sub("[^a-z0-9]", "", name.lower()) in told, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document):
    """Relative links of the documents are not broken."""
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
