"""What tests of applications and of Umbel itself need."""
