"""Networks of other people as data: read from ``torch.export``'s files, run, cut at the hidden states before and after
the pooling, and stored as text and safetensors. No code of the file's owner is run."""
