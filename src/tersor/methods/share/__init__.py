"""Few values that many weights share."""
