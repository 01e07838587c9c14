"""What every floor above leans on: settings, files, steps, progress, errors. No TensorFlow."""
