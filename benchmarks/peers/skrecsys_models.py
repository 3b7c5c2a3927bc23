"""skrecsys: EASE, RP3beta and BPR, one a run, named in the settings."""

import inspect

from exchange import Exchange
from skrecsys import recommendation

peer = Exchange()
settings = dict(peer.settings)
kind = getattr(recommendation, settings.pop("model"))
if "random_state" in inspect.signature(kind).parameters:
    settings["random_state"] = 0
with peer:
    model = kind(**settings).fit(peer.train[["user_id", "item_id"]].to_numpy())
items, scores = model.recommend(peer.users, n_recommendations=11)
peer.write(peer.users, items, scores, ["skrecsys", "numpy"])
