"""What is asked, in numbers: arguments checked, sizes worked out. It imports nothing of fastconv."""
