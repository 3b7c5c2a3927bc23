"""sentence-transformers: encode texts at its defaults. Arguments: model folder, texts (JSON),
vectors to write. Prints seconds and version as JSON.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer

transformer = Transformer(sys.argv[1])
model = SentenceTransformer(
    modules=[transformer, Pooling(transformer.get_embedding_dimension(), "mean")], device="cpu"
)
texts = json.loads(Path(sys.argv[2]).read_text())
model.encode(texts[:64])
started = time.perf_counter()
vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
seconds = time.perf_counter() - started
np.save(sys.argv[3], vectors)
print(json.dumps({"seconds": seconds, "version": version("sentence-transformers")}))
