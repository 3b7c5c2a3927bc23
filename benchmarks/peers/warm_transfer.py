"""warm-transfer: from the texts of known items to what a donor scores for every user, and from
there to items without events. Two methods: ``linmap`` (ridge regression) and ``stacking_plus``
(logistic regression over it, the likeness of texts and popularity, on the items of validation).

Beside the usual files: ``donor.npy`` (scores ``[n_users, n_items]`` for all users),
``candidates.npy`` and ``withheld.npy`` (items to rank, and items of validation), and
``valid.npy`` (pairs of user and item of validation).
"""

import numpy as np
import pandas as pd
from exchange import Exchange
from warmtransfer.columns import Columns
from warmtransfer.methods import LinMap, StackingPlus, cross_join_frame
from warmtransfer.types import ItemFeatures, TransferInputs

peer = Exchange()
donor, candidates, withheld, valid = map(peer.array, ("donor", "candidates", "withheld", "valid"))
known = np.unique(peer.train["item_id"])
texts = {
    name: ItemFeatures(items, peer.vectors[items])
    for name, items in (("warm", known), ("cold", candidates), ("val_cold", withheld))
}
inputs = TransferInputs(
    donor_scores=cross_join_frame(np.arange(len(donor)), known, donor[:, known]),
    train_interactions=peer.train[["user_id", "item_id"]],
    val_interactions=pd.DataFrame(valid, columns=["user_id", "item_id"]),
    **{f"{name}_features": features for name, features in texts.items()},
)
methods = {"linmap": LinMap, "stacking_plus": StackingPlus}
method = methods[peer.settings.pop("method")](**peer.settings)
with peer:
    method.fit(inputs, seed=0)
scores = (
    method.predict(peer.users, candidates)[Columns.Score]
    .to_numpy()
    .reshape(len(peer.users), len(candidates))
)
best = np.argsort(-scores, axis=1, kind="stable")[:, :11]
peer.write(
    peer.users, candidates[best], np.take_along_axis(scores, best, 1), ["warm-transfer", "numpy"]
)
