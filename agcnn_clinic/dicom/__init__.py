"""All that knows DICOM; nothing here knows this clinic."""
