import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from llmrec import Dataset, TextEncoder
from llmrec.assets import file_sha256
from llmrec.datasets import load_dataset
from llmrec.folders import SETTINGS, settings_checksum
from llmrec.models import TrainingConfig
from llmrec.transfer import TransferRecommender


@pytest.fixture(scope="session")
def encoder():
    return TextEncoder.from_pretrained()


@pytest.fixture(scope="session")
def films():
    return load_dataset("movielens-100k", progress=False)


@pytest.fixture
def tables():
    """Interactions and items of a tiny synthetic catalogue."""
    items = pd.DataFrame(
        {"item_id": ["a", "b", "c", "d", "e"], "text": ["ant", "bee 🐝", "猫", "كلب", "eel"]}
    )
    log = pd.DataFrame(
        {
            "user_id": [1, 1, 1, 1, 2, 2, 2, 3],
            "item_id": list("abcdbcea"),
            "timestamp": [1, 2, 2, 4, 1, 2, 3, 9],
        }
    )
    return log, items


@pytest.fixture
def tiny(tables):
    return Dataset.from_frames(*tables)


@pytest.fixture(scope="session")
def fitted(films, encoder):
    """A small real model: 60 MovieLens users, one epoch, a Transformer of one layer."""
    split = films.sample_users(60, seed=0).split()
    config = TrainingConfig(history="transformer", dim=16, hidden=32, n_layers=1)
    return TransferRecommender(encoder, closed_form=False, config=config, progress=False).fit(
        split.train, split.valid, epochs=1
    )


@pytest.fixture(scope="session")
def item_ids(films):
    return np.sort(films.items["item_id"]).tolist()


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The folder of the site, built once, although several processes may ask for it."""
    root, shared = Path(__file__).resolve().parent.parent, tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    with FileLock(shared / "site.lock"):
        if not (shared / "site.built").exists():
            build = [sys.executable, root / "docs" / "build.py"]
            subprocess.run(build, check=True, capture_output=True)
            (shared / "site.built").touch()
    return root / "_docs"


def sign_again(folder, change=None) -> None:
    """Make the checksums fit, as a stranger would who wrote the folder."""
    noted = json.loads((folder / SETTINGS).read_text())
    if change is not None:
        change(noted)
    noted["sha256"] = {name: file_sha256(folder / name) for name in noted["sha256"]}
    noted["checksum"] = settings_checksum(noted)
    (folder / SETTINGS).write_text(json.dumps(noted))
