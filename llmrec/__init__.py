"""Transfer learning from language models to recommender systems.

Every public name of every chapter can be imported from here. Its module is loaded when the name is
first asked for, so that a program waits for torch only if it uses a model.
"""

__version__ = "0.2.0"

import lazy_loader

# the names and where they are: __init__.pyi, which docs/stub.py writes
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
