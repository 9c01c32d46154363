"""Arrays, image files or any torch Dataset -> batches on the device. Where data comes from is not known here."""
