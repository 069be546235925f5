"""One look for all terminal output (`console`) and for all command lines (`command_line`)."""
