"""The training loops (distil, segment) on Lightning Fabric, and the recipes that steer them."""
