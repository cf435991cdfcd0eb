"""What can stop a training run."""


class TrainingError(Exception):
    """A training run cannot start or go on. Its sentence says what is wrong and what to do about it."""


class RunBusyError(TrainingError):
    """Another process trains in the run's folder."""


class TrainingStopped(TrainingError):  # noqa: N818 - it was asked to stop: nothing went wrong
    """A training run was asked to stop, has kept a checkpoint, and can be resumed."""


def first_line(error: Exception) -> str:
    """What a library says, to stand in a sentence of ours: some say a page."""
    return str(error).strip().partition("\n")[0]
