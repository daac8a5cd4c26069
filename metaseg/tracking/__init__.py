"""Trackers: a study's runs in TensorBoard, MLflow, Weights & Biases and trackio, told by the command that trains."""
