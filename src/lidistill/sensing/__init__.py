"""What a rig records: frames, rigid transforms, cameras, visibility, the pairing of points and pixels, point files."""
