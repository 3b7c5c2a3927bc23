"""RecTools: UniSRec on our text vectors."""

import numpy as np
import torch
from exchange import Exchange
from rectools.fast_transformers import UniSRecModel

peer = Exchange()
torch.manual_seed(0)
columns = [
    torch.from_numpy(peer.train[name].to_numpy().astype(np.int64))
    for name in ("user_id", "item_id", "timestamp")
]
with peer:
    model = UniSRecModel(
        torch.from_numpy(peer.vectors), **peer.settings, loss="softmax", device="cpu"
    ).fit(*columns)
histories = peer.train.sort_values("timestamp").groupby("user_id")["item_id"].agg(list)
length = peer.settings["session_max_len"]
inputs = torch.zeros(len(peer.users), length, dtype=torch.long)
for row, user in enumerate(peer.users):
    tail = model.map_item_ids(torch.tensor(histories[user][-length:]))
    inputs[row, -len(tail) :] = tail
longest = int(histories.map(len).max())
scores, items = model.predict_topk(inputs, k=min(longest + 11, len(model.item_id_mapping)))
kept_items, kept_scores = [], []
# what the user has is left out here, since the model does not do it
for row, user in enumerate(peer.users):
    new = ~np.isin(items[row].numpy(), histories[user])
    kept_items.append(items[row].numpy()[new][:11])
    kept_scores.append(scores[row].numpy()[new][:11])
peer.write(peer.users, np.stack(kept_items), np.stack(kept_scores), ["rectools", "torch"])
