"""As much of torchvision as benchmarks/torchvision_crops.py asks for."""
