"""fetch_asset against a package index on disk: nothing runs, nothing half-written, nothing of the
user's deleted.
"""

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from llmrec import assets
from llmrec.assets import Asset, AssetError, atomic_file, fetch_asset, staged

ASSETS = dict(assets.ASSETS)  # the real ones; some tests put others in their place


def _source_files(name, marker):
    """What a source archive holds; its setup.py, if it ever ran, would leave `marker` behind."""
    return {
        f"{name}-1.0/setup.py": f"open({str(marker)!r}, 'w').write('ran')\nfrom setuptools import "
        f"setup\nsetup(name='{name}', version='1.0')\n",
        f"{name}-1.0/PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0/{name}/values.txt": "1 2 3\n",
    }


def _sdist(folder, marker):
    path = folder / "toydata-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in _source_files("toydata", marker).items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def _zipped_sdist(folder, marker):
    path = folder / "toyzip-1.0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in _source_files("toyzip", marker).items():
            archive.writestr(name, text)
    return path


def _wheel(folder, extra=()):
    path = folder / "toywheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toywheel/data/a.txt", "aaa")
        archive.writestr("toywheel/data/sub/b.txt", "bbb")
        archive.writestr("toywheel/code.py", "raise SystemExit")
        archive.writestr(
            "toywheel-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: toywheel\nVersion: 1.0\n",
        )
        archive.writestr(
            "toywheel-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("toywheel-1.0.dist-info/RECORD", "")
        for name in extra:
            archive.writestr(name, "x")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of two packages in a folder, and an empty cache."""
    shelf = tmp_path / "index"
    shelf.mkdir()
    archives = {
        "sdist": _sdist(shelf, tmp_path / "marker"),
        "zip": _zipped_sdist(shelf, tmp_path / "marker"),
        "wheel": _wheel(shelf),
    }
    members = {
        "sdist": ("toydata-1.0/toydata/values.txt",),
        "zip": ("toyzip-1.0/toyzip/values.txt",),
        "wheel": ("toywheel/data/",),
    }
    requirements = {"sdist": "toydata==1.0", "zip": "toyzip==1.0", "wheel": "toywheel==1.0"}
    pinned = {
        name: Asset(
            requirements[name],
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_size,
            members[name],
            "none",
            is_source=name != "wheel",
        )
        for name, path in archives.items()
    }
    monkeypatch.setattr(assets, "ASSETS", pinned)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path


def _leftovers(tmp_path):
    folder = tmp_path / "home" / "assets"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.mark.parametrize(
    "name, files",
    [
        ("sdist", ["asset.json", "values.txt"]),
        ("zip", ["asset.json", "values.txt"]),
        ("wheel", ["a.txt", "asset.json", "b.txt"]),
    ],
)
def test_only_the_named_files_are_copied_and_nothing_runs(index, name, files):
    folder = fetch_asset(name, progress=False)
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == files
    assert not (index / "marker").exists()
    assert _leftovers(index) == [folder.name]


def test_second_call_needs_no_index(index, monkeypatch):
    first = fetch_asset("wheel", progress=False)
    shutil.rmtree(index / "index")
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **options: pytest.fail("touched the network")
    )
    assert fetch_asset("wheel", progress=False) == first


def test_what_is_removed_while_a_download_is_measured_counts_nothing(tmp_path, monkeypatch):
    tmp_path.joinpath("kept").write_text("123")
    gone, listing = tmp_path / "gone", os.scandir
    gone.mkdir()

    def scandir(path):
        if Path(path) == gone:
            raise FileNotFoundError(path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert assets._folder_size(tmp_path) == 3


def test_wrong_hash_is_refused_and_touches_nothing(index):
    kept = index / "home" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    _wheel(index / "index", extra=["toywheel/data/evil.txt"])
    with pytest.raises(AssetError, match=r"not the pinned file.*\. [A-Z]"):
        fetch_asset("wheel", progress=False)
    assert kept.read_text() == "mine" and _leftovers(index) == []


def test_truncated_download_is_refused(index):
    archive = index / "index" / "toydata-1.0.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(AssetError, match=r"[.!] [A-Z]"):
        fetch_asset("sdist", progress=False)
    assert _leftovers(index) == [] and not (index / "marker").exists()


def test_nothing_to_download_says_where_to_look(index):
    shutil.rmtree(index / "index")
    with pytest.raises(AssetError, match=r"could not download toydata==1\.0: .*\. Check"):
        fetch_asset("sdist", progress=False)


def test_full_disk_leaves_nothing(index, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(assets.shutil, "copyfileobj", full)
    with pytest.raises(AssetError, match=r"No space left.*Free"):
        fetch_asset("wheel", progress=False)
    assert _leftovers(index) == []


def test_unwritable_cache_says_llmrec_home(index, monkeypatch):
    (index / "file").write_text("")
    monkeypatch.setenv("LLMREC_HOME", str(index / "file"))
    with pytest.raises(AssetError, match="LLMREC_HOME"):
        fetch_asset("wheel", progress=False)


@pytest.mark.parametrize("content", ["a", "aab", ""])
def test_damaged_cache_is_noticed_and_kept(content, index):
    folder = fetch_asset("wheel", progress=False)
    (folder / "a.txt").write_text(content)
    with pytest.raises(
        AssetError, match=r"a\.txt is missing, cut short or changed.*Remove the folder"
    ):
        fetch_asset("wheel", progress=False)
    assert (folder / "a.txt").exists()


def test_a_path_that_leads_outside_is_refused(index, monkeypatch):
    path = _wheel(index / "index", extra=["toywheel/data/../../../../escaped.txt"])
    asset = assets.ASSETS["wheel"]
    monkeypatch.setitem(
        assets.ASSETS,
        "wheel",
        Asset(asset.requirement, assets.file_sha256(path), asset.n_bytes, asset.members, ""),
    )
    with pytest.raises(AssetError, match="leads outside"):
        fetch_asset("wheel", progress=False)
    assert not list(index.rglob("escaped.txt"))


def test_two_processes_at_once_both_get_it(index):
    code = (
        "import sys; from llmrec import assets; from llmrec.assets import Asset\n"
        f"assets.ASSETS = {{'wheel': {assets.ASSETS['wheel']!r}}}\n"
        "print(assets.fetch_asset('wheel', progress=False))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert answers == {str(fetch_asset("wheel", progress=False))} and len(_leftovers(index)) == 1


def test_unknown_name():
    with pytest.raises(KeyError, match=r"[.!] [A-Z]"):
        fetch_asset("nothing")


def _hostile_source(folder, requirement, marker):
    """A source archive of the right name whose own build backend, if anybody asked it, would leave
    `marker` behind.
    """
    name, version = requirement.split("==")
    root = f"{name.replace('-', '_').lower()}-{version}"
    runs = f"open({str(marker)!r}, 'w').write('ran')\n"
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = '
        '["."]\n',
        "own.py": runs,
        "setup.py": runs,
        "setuptools.py": runs,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(folder / f"{root}.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{root}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def _hostile_wheel(folder, requirement):
    name, version = requirement.split("==")
    root = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{root}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{root}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
        archive.writestr(
            f"{root}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{root}.dist-info/RECORD", "")


@pytest.mark.parametrize("kinds", ["source", "wheel", "both"])
@pytest.mark.parametrize("name", sorted(ASSETS))
def test_a_hostile_index_executes_nothing(name, kinds, index, monkeypatch):
    monkeypatch.setattr(assets, "ASSETS", ASSETS)
    if kinds != "wheel":
        _hostile_source(index / "index", ASSETS[name].requirement, index / "marker")
    if kinds != "source":
        _hostile_wheel(index / "index", ASSETS[name].requirement)
    # an archive of the kind that is pinned
    comes = kinds in ("both", "source" if ASSETS[name].is_source else "wheel")
    with pytest.raises(
        AssetError,
        match=r"not the pinned file.*not opened.*\. [A-Z]"
        if comes
        else r"could not download.*\. [A-Z]",
    ):
        fetch_asset(name, progress=False)
    assert not (index / "marker").exists() and _leftovers(index) == []


def test_a_module_called_pip_in_the_working_folder_is_not_run(index, monkeypatch, tmp_path):
    (tmp_path / "pip.py").write_text(f"open({str(index / 'marker')!r}, 'w').write('ran')")
    monkeypatch.chdir(tmp_path)
    assert fetch_asset("wheel", progress=False).is_dir() and not (index / "marker").exists()


def test_a_staged_folder_never_gives_way_in_silence(tmp_path):
    with (
        pytest.raises(
            FileExistsError, match=r"model exists already and is left as it is.*\. [A-Z]"
        ),
        staged(tmp_path / "model") as late,
    ):
        (late / "late.txt").write_text("late")
        with staged(tmp_path / "model") as early:  # another process, in the meantime
            (early / "early.txt").write_text("early")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "early.txt"]
    with staged(tmp_path / "model", keep_existing=True) as same:
        (same / "late.txt").write_text("late")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "early.txt"]


KILLED = """
import os, sys
from pathlib import Path
from llmrec.assets import owned, staged
with staged(Path(sys.argv[1])) as staging:
    (staging / "weights").write_bytes(bytes(1000))
    with owned(staging.parent, "download") as work:
        work.mkdir()
        print("ready", flush=True)
        sys.stdin.read()
"""


def _run_that_holds(folder: Path) -> subprocess.Popen:
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder / "model")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout.readline() == "ready\n"
    return run


def test_what_a_killed_run_leaves_is_swept_by_the_next(tmp_path):
    killed, living = _run_that_holds(tmp_path), _run_that_holds(tmp_path)
    held = set(tmp_path.iterdir())
    killed.kill()
    killed.wait()
    with atomic_file(tmp_path / "other") as temporary:  # any other run
        left = {path for path in tmp_path.iterdir() if temporary.name not in path.name}
        temporary.write_text("x")
    assert len(held) == 8 and len(left) == 4 and left < held  # two folders and two locks each
    living.communicate("")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "other"}


def test_leftovers_of_the_first_versions_are_swept_after_a_day(tmp_path):
    for name, age in (
        (".model-abcdefgh", 90_000),
        (".model-ijklmnop", 60),
        (".else-abcdefgh", 90_000),
    ):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with staged(tmp_path / "model"):
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model", ".model-ijklmnop", ".else-abcdefgh"}


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError), staged(tmp_path / "file" / "model"):
        pass
