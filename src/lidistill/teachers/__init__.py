"""Frozen image networks: pictures in, feature maps out, sampled at pixels."""
