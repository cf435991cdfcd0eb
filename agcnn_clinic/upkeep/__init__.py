"""What is done with leaves the disk: retention of archive, quarantine and reports."""
