"""Frame to frame: augmentation, voxel sampling, features (numpy only)."""
