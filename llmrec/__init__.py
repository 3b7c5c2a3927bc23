"""Transfer learning from language models to recommender systems."""
__version__ = "0.1.0"

from llmrec.data import Dataset, Split, fetch_asset, load_dataset
from llmrec.evaluation import compare, evaluate
from llmrec.features import TextEncoder
from llmrec.transfer import TransferClassifier, TransferRecommender

__all__ = ["Dataset", "Split", "TextEncoder", "TransferClassifier", "TransferRecommender", "compare", "evaluate", "fetch_asset", "load_dataset"]
