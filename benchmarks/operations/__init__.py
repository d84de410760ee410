"""What a call and a process pay."""
