"""What a host keeps ready of versions: Pythons, environments made from locks, and unpacked sources."""
