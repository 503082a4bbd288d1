"""Photographs of real faces with landmarks, as a Debian package ships them."""
