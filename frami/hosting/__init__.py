"""A page that strangers share: who they are, what belongs to whom, what each may do, and whose turn it is."""
