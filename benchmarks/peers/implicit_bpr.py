"""implicit: Bayesian personalised ranking."""

from exchange import Exchange
from implicit.bpr import BayesianPersonalizedRanking

peer = Exchange()
matrix = peer.matrix()
with peer:
    model = BayesianPersonalizedRanking(**peer.settings, random_state=0)
    model.fit(matrix, show_progress=False)
items, scores = model.recommend(
    peer.users, matrix[peer.users], N=11, filter_already_liked_items=True
)
peer.write(peer.users, items, scores, ["implicit", "numpy"])
