"""Any microscope image to pixels, and how it shows its cell."""
