"""Practice: what to do with data of one's own, and the model that comes of it."""
