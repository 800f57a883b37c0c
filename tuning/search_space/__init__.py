"""What a study searches, as data: dimensions with scales, conditions, and the way to a configuration and back.

from tuning import search_space

space = search_space.find("a2c", "CartPole-v1", texts=["learning_rate=log:1e-5:1e-2"])
study.optimize(lambda trial: score(space.sample(trial)), n_trials=20)
"""

from tuning.search_space.dimensions import ARCHITECTURES, TYPES, Dimension
from tuning.search_space.reading import find, parse, parse_text
from tuning.search_space.space import Encoded, SearchSpace

__all__ = ["ARCHITECTURES", "TYPES", "Dimension", "Encoded", "SearchSpace", "find", "parse", "parse_text"]
