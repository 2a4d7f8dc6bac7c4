"""To be removed: old name of `fetch` and `datasets`, for importers not yet changed."""

from oneshot.sources.datasets import fetch_dataset as fetch_dataset
from oneshot.sources.fetch import SOURCE as SOURCE
