"""What of a requirements file reaches pip: packages and versions, and nothing that says where from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.errors import Errors, FarmletError, InputError
from farmlet.parts.software import image
from farmlet.parts.software.requirements import LINE, MOST, check, parse


@pytest.mark.parametrize(
    "line",
    [
        "mplhep",
        "mplhep==0.3.59",
        "uproot >= 5.3, < 6",
        "dask[distributed, array]~=2025.1",
        'tomli; python_version < "3.11"',
        "a==1 --hash=sha256:" + "0" * 64 + " --hash=sha256:" + "f" * 64,
        "x==1.*",
    ],
)
def test_packages_pass(line: str) -> None:
    assert check(f"  {line} ") == line


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil.example",
        "-r other.txt",
        "-e .",
        "./local",
        "/etc/passwd",
        "name @ https://evil.example/x.whl",
        "git+https://evil.example/x",
        "https://evil.example/x.whl",
        "a==1 --index-url https://evil.example",
        "a --config-settings=x=y",
        "a; b\n--pre",
        "a $(id)",
        "ä",
        "a==",
        "a" * 200,
        "",
        "a==1 --hash=md5:00",
        "a; python_version --pre @x",
    ],
)
def test_what_is_no_package_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"option|address|no package"):
        check(line)


def test_all_faults_are_told_with_their_lines() -> None:
    with pytest.raises(Errors) as told:
        parse("good\n# words\n--pre\nalso  # why\n-r more.txt \x1b[2J\n", "requirements.txt")
    assert [error.where for error in told.value.errors] == ["requirements.txt:3", "requirements.txt:5"]
    assert "\x1b" not in str(told.value)


def test_a_lock_file_is_read() -> None:
    found = parse(image.requirements(), "analysis.txt")
    assert len(found) > 90
    assert all("--hash=sha256:" in line and "==" in line for line in found)


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "a\n" * (MOST + 1), "a" * (1 << 21)])
def test_too_few_and_too_many(text: str) -> None:
    with pytest.raises(InputError):
        parse(text, "requirements.txt")


@given(st.text(max_size=300))
def test_whatever_comes_is_answered_in_words(text: str) -> None:
    try:
        found = parse(text, "x")
    except FarmletError as error:
        assert all(one.isprintable() or one == "\n" for one in str(error))
    else:
        for line in found:
            assert LINE.fullmatch(line)
            assert not line.startswith("-")
            assert "\n" not in line
