"""A member's own image: what is asked, what it shows where, and that a failure leaves nothing. Real ones: the facility tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from farmlet.errors import Errors, FarmletError, InputError
from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.software.members import own
from farmlet.parts.software.members.own import Maker, make, read


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    (folder / ".images" / "analysis-1" / "usr/local/bin").mkdir(parents=True)
    (folder / ".images" / "analysis-1" / "opt").mkdir()
    (folder / ".images" / "analysis-1" / "usr/local/bin/jupyter").write_text("")
    (folder / "analysis").symlink_to(".images/analysis-1")
    images.save([Row("analysis", offered=True, debian={"python3": "3.13.5-1"}), Row("broken", offered=False)], folder)
    return folder


@pytest.fixture
def fit(tmp_path: Path) -> Path:
    folder = tmp_path / "My Fit"
    folder.mkdir()
    (folder / "requirements.txt").write_text("mplhep==0.3.59  # plots\nparticle[x]>0\n")
    return folder


def test_the_folder_says_it_all(fit: Path, published: Path) -> None:
    wish = read(str(fit), "", "analysis", published)
    assert (wish.name, wish.target, wish.test) == ("my-fit", fit / "my-fit.sif", None)
    assert wish.base == published / ".images" / "analysis-1", "it stays the same while others are published"
    assert wish.packages == ["mplhep", "particle"]
    (fit / "test.sh").write_text("true")
    assert read(str(fit), "other", "analysis", published).test == fit / "test.sh"


@pytest.mark.parametrize("base", ["broken", "none", "../../etc", ""])
def test_it_begins_with_what_is_offered(fit: Path, published: Path, base: str) -> None:
    with pytest.raises(InputError, match="no such image"):
        read(str(fit), "", base, published)


@pytest.mark.parametrize("name", ["../x", "A", "-x", "x" * 50, "a b", "a\n"])
def test_a_name_is_a_name(fit: Path, published: Path, name: str) -> None:
    with pytest.raises(InputError, match="small letters"):
        read(str(fit), name, "analysis", published)


def test_a_folder_without_requirements_is_told_what_to_do(tmp_path: Path, fit: Path, published: Path) -> None:
    with pytest.raises(InputError, match=r"none of requirements\.txt"):
        read(str(tmp_path), "", "analysis", published)
    (fit / "requirements.txt").write_bytes(b"\xff\xfe--index-url x\n-r /etc/shadow\n")
    with pytest.raises(Errors, match="2"):
        read(str(fit), "", "analysis", published)


CONDA = """\
name: fit
channels: [conda-forge]
dependencies:
  - python>=3.11
  - pip
  - conda-forge::numpy=1.26
  - matplotlib-base
  - iminuit >=2.20, <3
  - vector 1.6.1
  - pip:
    - particle==0.25
"""


def test_an_environment_of_condas_is_read(fit: Path, published: Path) -> None:
    with pytest.raises(InputError, match="more than one of"):
        (fit / "environment.yml").write_text(CONDA)
        read(str(fit), "", "analysis", published)
    (fit / "requirements.txt").unlink()
    wish = read(str(fit), "", "analysis", published)
    assert wish.requirements == ("numpy==1.26.*", "matplotlib", "iminuit>=2.20,<3", "vector==1.6.1", "particle==0.25")


def test_what_pip_cannot_do_of_it_is_told_at_once(fit: Path, published: Path) -> None:
    (fit / "requirements.txt").unlink()
    lines = ["python=2.7", "root=6.32", "numpy=1.26=py312h_0", "scipy>=1|<2", "numpy[x]", "[a]"]
    lines += ["pip: [--pre, 'x @ file:///x', python==x]", '"\\e[2Jx"', "numpy~1"]
    text = "".join(f"  - {line}\n" for line in lines)
    (fit / "environment.yml").write_text(f"variables: {{A: b}}\ndependencies:\n{text}")
    with pytest.raises(Errors) as told:
        read(str(fit), "", "analysis", published)
    said = {error.where.rpartition(":")[2]: error.what for error in told.value.errors}
    assert list(said) == [str(line) for line in (1, *range(3, 12))] and len(told.value.errors) == 12
    assert said["3"] == "`python==2.7.*` is not the Python of the image, 3.13.5" and "no Python package" in said["4"]
    assert "\x1b" not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"dependencies: x", b"dependencies: []", b"{", b"a: *b", b"\xff\xfe\x00", b"\x00", b"- " * 40000,
        b"dependencies: [" * 2000, b"dependencies:\n- &a [x]\n- *a\n", b"x" * (1 << 19),
        b"dependencies: [!!python/object/apply:os.getpid []]",
        b"dependencies: [pip: {a: b}]",
    ],
)  # fmt: skip
def test_an_odd_environment_is_answered_in_words(fit: Path, published: Path, text: bytes) -> None:
    (fit / "requirements.txt").unlink()
    (fit / "environment.yml").write_bytes(text)
    with pytest.raises((InputError, Errors), match=r"environment\.yml"):
        read(str(fit), "", "analysis", published)


def test_what_is_shown_in_the_usual_places(fit: Path, published: Path, tmp_path: Path) -> None:
    maker = Maker(read(str(fit), "", "analysis", published), tmp_path / "work")
    made = tmp_path / "work" / "opt" / "own"
    (made / "lib/python3.13/site-packages").mkdir(parents=True)
    (made / "bin").mkdir()
    for name in ("fitter", "jupyter", "python3", "pip3.13", "activate", "a b", "x s 777 root root y", "-rf"):
        (made / "bin" / name).write_text("")
    assert maker.link() == [
        "usr/local/lib/python3.13/dist-packages/own.pth s 777 root root /opt/own/first.pth",
        "usr/local/bin/fitter s 777 root root /opt/own/bin/fitter",
    ]
    # as Python reads it: /opt/own comes before what Debian and the image have
    code = f"import sys; sys.path = ['/a', '/b/dist-packages']; exec({(made / 'first.pth').read_text()!r}); print(sys.path)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['/a', '/opt/own/lib/python3.13/site-packages', '/b/dist-packages']"


def test_a_failure_leaves_what_was_there(fit: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = read(str(fit), "", "analysis", published)
    wish.target.write_text("the one before")
    (fit / ".my-fit.left.making").mkdir()

    def run(words: list[str], where: str) -> str:
        raise FarmletError(where, "no such package")

    monkeypatch.setattr(own, "run", run)
    with pytest.raises(FarmletError, match="no such package"):
        make(wish)
    assert wish.target.read_text() == "the one before"
    assert sorted(path.name for path in fit.iterdir()) == ["my-fit.sif", "requirements.txt"]


def test_packages_come_from_where_the_facility_says(
    fit: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(own, "run", lambda words, where: seen.append(list(words)) or "")
    config = tmp_path / "packages"
    config.mkdir()
    (config / "pip.conf").write_text("[global]\nindex-url = https://mirror.test/simple\n")
    maker = Maker(read(str(fit), "", "analysis", published), tmp_path / "work", config)
    maker.install()
    assert all("--containall" in words and f"--bind={config}/pip.conf:/run/pip.conf:ro" in words for words in seen)
    assert all("--env=PIP_CONFIG_FILE=/run/pip.conf" in words for words in seen)
    assert not any("PIP_CERT" in word for words in seen for word in words), "no authorities of its own"
    asked = (tmp_path / "work" / "tmp" / "requirements.txt").read_text()
    assert asked == "mplhep==0.3.59\nparticle[x]>0\n"
    assert json.dumps(seen).count("requirements.txt") == 1


def test_sources_are_kept_without_passwords(tmp_path: Path) -> None:
    script = (
        (Path(own.__file__).parents[1] / "templates" / "sources.sh")
        .read_text()
        .replace("/etc/farmlet/packages", str(tmp_path / "to"))
    )
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("authorities")
    given = {"PATH": "/usr/bin:/bin", "PIP_INDEX_URL": "https://m.test/simple", "PIP_EXTRA_INDEX_URL": "https://me:key@m.test/"}
    for more in ({"FARMLET_BUNDLE": str(bundle)}, {}):
        subprocess.run(["sh", "-c", script], env=given | more, check=True)
        assert (tmp_path / "to" / "pip.conf").read_text() == "[global]\nindex-url = https://m.test/simple\n"
        assert (tmp_path / "to" / "bundle.pem").exists() == bool(more)
