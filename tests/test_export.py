"""Graphs of ONNX answer like the model that they were written from."""

import functools
from dataclasses import replace

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from safetensors.numpy import load_file

from llmrec.checks import DataError
from llmrec.export import export_onnx
from llmrec.models import TrainingConfig
from llmrec.transfer import TransferRecommender

SMALL = TrainingConfig(dim=8, hidden=16, epochs=2, n_components=16, content_dim=8, max_length=20)


@pytest.fixture(scope="module")
def fitted_with(films, encoder):
    """What fits a small network with a history tower."""
    split = films.sample_users(80).split("leave_one_out")

    @functools.cache
    def fit(history: str) -> TransferRecommender:
        config = replace(SMALL, history=history)
        model = TransferRecommender(encoder, config=config, closed_form=False, progress=False)
        return model.fit(split.train, split.valid)

    return fit


# what has a graph of its own; the mean and the last item have only layers that the items have, too
@pytest.mark.parametrize("history", ["gru", "transformer", "linear", "pointwise"])
def test_a_runtime_gives_the_lists_of_the_model(history, fitted_with, tmp_path):
    model = fitted_with(history)
    files = export_onnx(model, tmp_path / "towers")
    assert {"items.onnx", "users.onnx"} <= set(files["file"]) and (files["difference"] < 1e-3).all()
    catalogue = pd.read_parquet(tmp_path / "towers" / "items.parquet")
    vectors = load_file(tmp_path / "towers" / "vectors.safetensors")
    users = onnxruntime.InferenceSession(tmp_path / "towers" / "users.onnx")
    history = catalogue["item_id"].iloc[[3, 30, 300]].tolist()
    rows = pd.Index(catalogue["item_id"]).get_indexer(history)[None]
    (user,) = users.run(None, {"inputs": vectors["inputs"], "histories": rows})
    scores = vectors["outputs"] @ user[0]
    scores[rows[0]] = -np.inf
    lists = model.recommend({"somebody": history}, k=10)
    assert catalogue["item_id"].iloc[np.argsort(-scores)[:10]].tolist() == lists["item_id"].tolist()


def test_a_graph_that_differs_is_not_written(fitted_with, tmp_path):
    model = fitted_with("gru")
    with pytest.raises(DataError, match="not written"):
        export_onnx(model, tmp_path / "exact", tolerance=-1.0)
    assert not any(tmp_path.iterdir())
