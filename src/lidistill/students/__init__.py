"""Students: lidar networks, and the packed clouds that they eat."""
