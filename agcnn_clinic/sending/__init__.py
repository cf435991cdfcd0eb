"""Reports on their way out, as DICOM objects, to the archive that the images came from."""
