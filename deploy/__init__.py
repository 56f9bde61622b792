"""What surrounds a hosted studio: the rehearsal of a Space, and the audit of its packages. Not part of the package."""
