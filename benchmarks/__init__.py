"""What each stage bought, and where it stands against what else there is: load, ladder, peers."""
