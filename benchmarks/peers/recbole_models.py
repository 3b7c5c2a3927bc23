"""RecBole: one of its models, named in the settings; for SASRec one epoch is enough, since only its
time is asked for.
"""

import sys

import numpy as np
import torch
from exchange import Exchange
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

peer = Exchange()
sys.argv = sys.argv[:1]  # RecBole reads the command line too
name = peer.settings.pop("model")
files = peer.folder / "recbole" / "films"
files.mkdir(parents=True, exist_ok=True)
typed = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
peer.train.rename(columns=typed).to_csv(files / "films.inter", sep="\t", index=False)
options = {
    "data_path": str(files.parent),
    "load_col": {"inter": list(typed)},
    "seed": 0,
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
    "checkpoint_dir": str(peer.folder / "saved"),
    "train_neg_sample_args": None,
    "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": "full"},
}
if name == "EASE":  # a closed form, learned from everything it is given
    options["eval_args"] = {
        "split": {"RS": [1.0, 0.0, 0.0]},
        "order": "TO",
        "group_by": "user",
        "mode": "full",
    }
config = Config(model=name, dataset="films", config_dict={**options, **peer.settings})
init_seed(0, True)
dataset = create_dataset(config)
train, _, _ = data_preparation(config, dataset)
model = get_model(name)(config, train.dataset).to("cpu")
with peer:
    get_trainer(config["MODEL_TYPE"], name)(config, model).fit(
        train, None, verbose=False, saved=False, show_progress=False
    )
if name != "EASE":
    # no lists
    peer.write(peer.users[:0], np.zeros((0, 11)), np.zeros((0, 11)), ["recbole", "torch"])
    sys.exit()
rows = torch.tensor(dataset.token2id("user_id", peer.users.astype(str)))
scores = model.full_sort_predict({"user_id": rows}).view(len(rows), -1).detach()
scores[:, 0] = -np.inf
known = torch.from_numpy(dataset.inter_matrix(form="csr")[rows.numpy()].toarray() > 0)
values, columns = scores.masked_fill(known, -np.inf).topk(11, dim=1)
peer.write(
    peer.users,
    dataset.id2token("item_id", columns.numpy()).astype(int),
    values,
    ["recbole", "torch"],
)
