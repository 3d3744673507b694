"""Every code block of README and docs does what the page says; one that is not run says why."""

from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks, call, follow, make_given, same_output

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
RUN = ("console", "python")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _runs(page: Path) -> list[Block]:
    found = blocks(page.read_text(encoding="utf-8"))
    return [block for block in found if block.word != "not run" and (block.word == "file" or block.language in RUN)]


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw what pages take for granted, once."""
    folder = tmp_path_factory.mktemp("materials")
    make_given(folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep generated cohorts for the next page that draws the same one."""
    return tmp_path_factory.mktemp("cohorts")


@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)], ids=_name)
def test_a_page_can_be_followed(page: Path, tmp_path: Path, cache: Path, request: pytest.FixtureRequest):
    text = page.read_text(encoding="utf-8")
    materials = request.getfixturevalue("materials") if "<!-- given:" in text else tmp_path
    folder = tmp_path / "followed"
    folder.mkdir()
    names: dict[str, object] = {}
    with follow(text, folder, materials=materials):
        for block in _runs(page):
            if block.word == "file":
                Path(block.said).write_text(block.text, encoding="utf-8")
            elif block.language == "python" and ">>>" not in block.text:  # those pytest collects by itself
                exec(compile(block.text, _name(page), "exec"), names)
            elif block.language == "console":
                for command, shown in block.steps:
                    status, printed = call(command, cache)
                    assert status == 0, f"{command}\n{printed}"
                    assert not shown or same_output(shown, printed), f"{command}\n{shown}\nis now\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_block_runs_or_says_why_not(page: Path):
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.language, f"a block has no language: {block.text[:60]}"
        known = block.language in {*RUN, "pycon", "text"} or block.word in {"file", "not run"}
        assert known, f"a block of {block.language} neither runs nor says why not: {block.text[:60]}"
        if block.language == "console" and block.word != "not run":
            assert block.steps, f"a console block holds no command: {block.text[:60]}"


def test_the_same_words_with_a_number_off_by_little_are_the_same_output():
    assert same_output("AUC 0.918, 10 cells\n", "AUC 0.917,\n10 cells")


def test_another_number_is_another_output():
    assert not same_output("AUC 0.918, 10 cells", "AUC 0.918, 11 cells")


def test_another_word_is_another_output():
    assert not same_output("10 cells", "10 images")


def test_a_reason_belongs_to_the_block_that_follows_it():
    page = "<!-- not run: takes hours -->\n\n```console\n$ a\n```\n\n```console\n$ b\nB\n```\n"
    first, second = blocks(page)
    assert (first.word, first.said, second.word) == ("not run", "takes hours", "")
    assert second.steps == [("b", "B\n")]
