"""The wards of the tests' installations: all of them have one data key."""

from trunkline.contracts.wards import Ward, Wards

DATA_KEY = "the data key of every installation that a test makes"
WARDS = Wards(DATA_KEY)


def ward(pipeline: str) -> Ward:
    """Return a pipeline's ward."""
    return WARDS.of(pipeline)
