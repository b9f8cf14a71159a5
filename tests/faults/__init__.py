"""What goes wrong with real processes: kills, restarts, broken models, full disks."""
