"""Speed and memory of Umbel beside its peers, measured in one run on one machine."""
