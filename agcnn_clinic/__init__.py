"""agcnn-clinic: batch reading of chest radiographs from an inbox to a findings database and PDF reports."""

__version__ = "0.1.0"
