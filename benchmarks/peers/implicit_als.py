"""implicit: alternating least squares."""

from exchange import Exchange
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

peer = Exchange()
matrix = peer.matrix()
with threadpool_limits(1, "blas"), peer:
    model = AlternatingLeastSquares(**peer.settings, random_state=0)
    model.fit(matrix, show_progress=False)
items, scores = model.recommend(
    peer.users, matrix[peer.users], N=11, filter_already_liked_items=True
)
peer.write(peer.users, items, scores, ["implicit", "numpy"])
