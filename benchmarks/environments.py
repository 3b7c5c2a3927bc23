"""An environment of its own for each peer, made when it is first needed, and a way to run an
adapter in it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
ENVIRONMENTS = {
    "rectools": [TORCH, "RecTools[torch]==0.19.0", "pyarrow<20"],
    "recbole": [TORCH, "recbole==1.2.1", "numpy<2", "pandas<3", "pyarrow<20", "setuptools<81"],
    "implicit": ["implicit==0.7.3", "pandas", "pyarrow", "threadpoolctl"],
    "warm-transfer": ["warm-transfer==0.1.0", "pyarrow"],
    "skrecsys": ["skrecsys==0.9.0", "pandas", "pyarrow"],
    "sentence-transformers": [TORCH, "sentence-transformers==6.2.0", "pandas", "pyarrow"],
    "faiss": ["faiss-cpu==1.15.1", "ranx==0.3.21", "pyarrow"],
}


class PeerError(RuntimeError):
    """A peer that could not be installed or run; the message is the last line it said."""


def environment(name: str) -> Path:
    """The Python of a peer's environment; raises `PeerError` if it cannot be made."""
    folder = HERE / ".environments" / name
    python = folder / "bin" / "python"
    made, wanted = folder / "made_of.txt", "\n".join(ENVIRONMENTS[name])
    if not made.exists() or made.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # torch first, so that no other build comes with the rest
        for requirements in ([r for r in ENVIRONMENTS[name] if r == TORCH], ENVIRONMENTS[name]):
            if requirements:
                _checked(
                    [
                        python,
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                        *requirements,
                    ],
                    f"{name} cannot be installed",
                )
        made.write_text(wanted)
    return python


def _checked(command: list, what: str, **options) -> None:
    result = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )
    if result.returncode:
        said = [
            line for line in result.stderr.splitlines() if line.strip() and "WARNING" not in line
        ]
        raise PeerError(f"{what}: {said[-1][:300] if said else 'no message'}")


def run_adapter(
    name: str,
    script: str,
    settings: dict,
    *,
    train: pd.DataFrame,
    **arrays: np.ndarray,
) -> tuple[pd.DataFrame, dict]:
    """Lists and record of one run; the `arrays` are those of ``peers/exchange.py``."""
    python = environment(name)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train.to_parquet(folder / "train.parquet")
        for array, values in arrays.items():
            np.save(folder / f"{array}.npy", values)
        (folder / "settings.json").write_text(json.dumps(settings))
        _checked(
            [python, HERE / "peers" / script, folder],
            f"{script} failed",
            cwd=folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        return pd.read_parquet(folder / "lists.parquet"), json.loads(
            (folder / "record.json").read_text()
        )
