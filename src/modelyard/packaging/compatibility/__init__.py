"""Which Python, CUDA and cuDNN go with which torch and TensorFlow: tables with their source and date, and choices."""
