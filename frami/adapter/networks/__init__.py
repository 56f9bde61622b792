"""Networks of published checkpoints, under the names of their own files; sizes follow from the weights."""
