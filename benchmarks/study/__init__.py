"""The study: methods of fine-tuning compared along their whole curves."""
