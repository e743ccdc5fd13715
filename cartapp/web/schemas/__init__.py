"""Request models, response models and field types."""
