"""What a trial remembers besides its parameters: the names of its user attributes."""

CONFIG = "config"  # the run's configuration as data, with the seed of its first run
HYPERPARAMS = "hyperparams"  # the constructor's arguments as data, as a configuration holds them
CONSTRUCTOR = "constructor"  # the Python call that makes the model, ready to be pasted
SEEDS = "seeds"  # of its training runs
SCORES = "scores"  # by metric: one score a seed that was trained to its end
NUM_TIMESTEPS = "num_timesteps"  # environment steps, over all its seeds
TRAIN_SECONDS = "train_seconds"  # of training alone, over all its seeds
EVALUATIONS = "evaluations"  # one a seed: steps and mean returns
ERROR = "error"  # why it failed, in one line
TRACEBACK = "traceback"
DEFAULT = "default"  # true: this is the default, as near as the search space allows
MOVED = "moved"  # of the default: hyperparameters that the search space does not contain, as {name: [value, nearest]}
TIME_CONSTRAINT = "train_seconds"  # name of the constraint on time
