"""What a trial remembers besides its parameters: the names of its user attributes."""

CONFIG = "config"  # the resolved configuration as data, with the seed of its first run; for tuning.train(config=...)
CONSTRUCTOR = "constructor"  # the Python call that makes the model, ready to be pasted
# What was done, however the trial ended. One attribute: each is written to the disk by itself, for milliseconds.
RESULT = "result"
SEEDS = "seeds"  # in it: of the training runs that were begun
SCORES = "scores"  # in it: by metric, one score a seed; only of a complete trial
NUM_TIMESTEPS = "num_timesteps"  # in it: environment steps, over all seeds
TRAIN_SECONDS = "train_seconds"  # in it: of training alone, over all seeds
EVALUATIONS = "evaluations"  # in it: one a seed, steps and mean returns
ERROR = "error"  # why it failed, in one line
TRACEBACK = "traceback"
DEFAULT = "default"  # true: this is the default, as near as the search space allows
MOVED = "moved"  # of the default: hyperparameters that the search space does not contain, as {name: [value, nearest]}
TIME_CONSTRAINT = "train_seconds"  # name of the constraint on time
