"""What teachers said, stored."""
