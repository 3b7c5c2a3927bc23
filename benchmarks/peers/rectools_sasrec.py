"""RecTools: SASRec with a full softmax."""

import numpy as np
import pandas as pd
import torch
from exchange import Exchange
from rectools.dataset import Dataset
from rectools.models import SASRecModel

peer = Exchange()
torch.manual_seed(0)
log = peer.train.assign(
    datetime=pd.to_datetime(peer.train["timestamp"], unit="s"), weight=1.0
).drop(columns="timestamp")
dataset = Dataset.construct(log)
with peer:
    model = SASRecModel(**peer.settings, loss="softmax", deterministic=True).fit(dataset)
top = model.recommend(peer.users, dataset, k=11, filter_viewed=True)
wide = top.pivot(index="user_id", columns="rank", values=["item_id", "score"]).loc[peer.users]
peer.write(
    peer.users, np.asarray(wide["item_id"]), np.asarray(wide["score"]), ["rectools", "torch"]
)
